"""Calls about tasks: what agents and people do to them."""

from http import HTTPStatus

from litestar import HttpMethod

from greenroom.domain.task import Task
from greenroom.server import claims
from greenroom.server.ask import Ask
from greenroom.server.doors import Doors
from greenroom.server.operations import API, Operations
from greenroom.server.queries import TasksQuery
from greenroom.service import decisions, tasks
from greenroom.service.world import World
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import ClaimedTask
from greenroom.wire.requests import (
    Accept,
    AddNote,
    AddToBacklog,
    Claim,
    Complete,
    Decline,
    Explain,
    Handoff,
    OnAttempt,
    Progress,
    Retry,
    SendBack,
)

calls = Operations()

OF_ROOM = f"{API}/rooms/{{room}}/tasks"
TASK = f"{API}/tasks/{{task}}"


@calls.call(HttpMethod.POST, f"{OF_ROOM}/claim", Claim, ClaimedTask | None)
async def claim_task(doors: Doors, ask: Ask[Claim]) -> object:
    """Take the role's next task, waiting for one if told to; 204 when there was none in time."""
    return await claims.claim(doors, ask)


@calls.read(OF_ROOM, list[Task], TasksQuery)
def list_tasks(world: World, reader: Reader, ask: Ask[None]) -> object:
    """List a room's tasks, oldest first."""
    query = ask.query
    return tasks.list_all(world, reader, ask.caller, ask.room, query.status, query.after, ask.limit(world.limits))


@calls.read(TASK, Task)
def show_task(world: World, reader: Reader, ask: Ask[None]) -> object:
    """Show a task with its late results and the notes on it."""
    return tasks.show(world, reader, ask.caller, ask.task)


@calls.move(HttpMethod.POST, f"{TASK}/start", OnAttempt, Task)
def start_task(world: World, transaction: Transaction, ask: Ask[OnAttempt]) -> object:
    """Say that the work begins."""
    return tasks.start(world, transaction, ask.caller, ask.task, ask.body)


@calls.move(HttpMethod.POST, f"{TASK}/progress", Progress, Task)
def progress_task(world: World, transaction: Transaction, ask: Ask[Progress]) -> object:
    """Say how far the work is."""
    return tasks.progress(world, transaction, ask.caller, ask.task, ask.body)


@calls.move(HttpMethod.POST, f"{TASK}/complete", Complete, Task)
def complete_task(world: World, transaction: Transaction, ask: Ask[Complete]) -> object:
    """Hand in the result to the user; `promoted` names the task that could begin by it."""
    return tasks.complete(world, transaction, ask.caller, ask.task, ask.body)


@calls.move(HttpMethod.POST, f"{TASK}/handoff", Handoff, Task)
def hand_off_task(world: World, transaction: Transaction, ask: Ask[Handoff]) -> object:
    """Hand the work on to another role or to the user; `next_task` names the task that it opened."""
    return tasks.handoff(world, transaction, ask.caller, ask.task, ask.body)


@calls.move(HttpMethod.POST, f"{TASK}/decline", Decline, Task)
def decline_task(world: World, transaction: Transaction, ask: Ask[Decline]) -> object:
    """Say why the task cannot be done; it waits for a person."""
    return tasks.decline(world, transaction, ask.caller, ask.task, ask.body)


@calls.move(HttpMethod.POST, f"{TASK}/cancel", Explain, Task)
def cancel_task(world: World, transaction: Transaction, ask: Ask[Explain]) -> object:
    """Close a task; who holds it is told to stop."""
    return decisions.cancel(world, transaction, ask.caller, ask.task, ask.body)


@calls.move(HttpMethod.POST, f"{TASK}/retry", Retry, Task)
def retry_task(world: World, transaction: Transaction, ask: Ask[Retry]) -> object:
    """Take a task out of quarantine and forget its deaths; with `to`, open it for another role (`next_task`)."""
    return decisions.retry(world, transaction, ask.caller, ask.task, ask.body)


@calls.move(HttpMethod.POST, f"{TASK}/reset", Explain, Task)
def reset_task(world: World, transaction: Transaction, ask: Ask[Explain]) -> object:
    """Take a task from who holds it and give it to the role anew."""
    return decisions.reset(world, transaction, ask.caller, ask.task, ask.body)


@calls.move(HttpMethod.POST, f"{TASK}/accept", Accept, Task)
def accept_task(world: World, transaction: Transaction, ask: Ask[Accept]) -> object:
    """Take the result that waits for a review or, with `attempt`, the newest late result of that attempt."""
    return decisions.accept(world, transaction, ask.caller, ask.task, ask.body)


@calls.move(HttpMethod.POST, f"{TASK}/send-back", SendBack, Task)
def send_back_task(world: World, transaction: Transaction, ask: Ask[SendBack]) -> object:
    """Have a task done again, or put it off to the backlog; the reason becomes a note."""
    return decisions.send_back(world, transaction, ask.caller, ask.task, ask.body)


@calls.move(HttpMethod.POST, f"{TASK}/queue", Explain, Task)
def queue_task(world: World, transaction: Transaction, ask: Ask[Explain]) -> object:
    """Let the work on a backlog item begin, at once or when the room has a place."""
    return decisions.queue(world, transaction, ask.caller, ask.task, ask.body)


@calls.move(HttpMethod.POST, f"{TASK}/note", AddNote, Task)
def note_task(world: World, transaction: Transaction, ask: Ask[AddNote]) -> object:
    """Tell whoever works on a task something: with their next beat, or when they claim it."""
    return decisions.note(world, transaction, ask.caller, ask.task, ask.body)


@calls.move(HttpMethod.POST, f"{API}/rooms/{{room}}/backlog", AddToBacklog, Task, HTTPStatus.CREATED)
def add_to_backlog(world: World, transaction: Transaction, ask: Ask[AddToBacklog]) -> object:
    """Write down work that nobody begins until it is queued, and whose result waits for a review."""
    return decisions.add_to_backlog(world, transaction, ask.caller, ask.room, ask.body)
