"""Calls about tasks: those of agents and those of users."""

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
async def claim_task(server: Doors, request: Ask[Claim]) -> object:
    """Claim the role's next task, waiting up to `wait_s` seconds for one; 204 when there was none in time."""
    return await claims.claim(server, request)


@calls.read(OF_ROOM, list[Task], TasksQuery)
def list_tasks(world: World, reader: Reader, request: Ask[None]) -> object:
    """List a room's tasks, oldest first."""
    query, limit = request.query, request.limit(world.limits)
    return tasks.list_all(world, reader, request.caller, request.room, query.status, query.after, limit)


@calls.read(TASK, Task)
def show_task(world: World, reader: Reader, request: Ask[None]) -> object:
    """Show a task with its late results and its notes."""
    return tasks.show(world, reader, request.caller, request.task)


@calls.move(HttpMethod.POST, f"{TASK}/start", OnAttempt, Task)
def start_task(world: World, transaction: Transaction, request: Ask[OnAttempt]) -> object:
    """Report that work on the task has started."""
    return tasks.start(world, transaction, request.caller, request.task, request.body)


@calls.move(HttpMethod.POST, f"{TASK}/progress", Progress, Task)
def progress_task(world: World, transaction: Transaction, request: Ask[Progress]) -> object:
    """Report progress on the task."""
    return tasks.progress(world, transaction, request.caller, request.task, request.body)


@calls.move(HttpMethod.POST, f"{TASK}/complete", Complete, Task)
def complete_task(world: World, transaction: Transaction, request: Ask[Complete]) -> object:
    """Complete the task with a result for the user; `promoted` names the queued task that can begin now."""
    return tasks.complete(world, transaction, request.caller, request.task, request.body)


@calls.move(HttpMethod.POST, f"{TASK}/handoff", Handoff, Task)
def hand_off_task(world: World, transaction: Transaction, request: Ask[Handoff]) -> object:
    """Complete the task and hand its result to another role or the user; `next_task` names the task that it opened."""
    return tasks.handoff(world, transaction, request.caller, request.task, request.body)


@calls.move(HttpMethod.POST, f"{TASK}/decline", Decline, Task)
def decline_task(world: World, transaction: Transaction, request: Ask[Decline]) -> object:
    """Decline the task with a reason; it is quarantined until a user decides."""
    return tasks.decline(world, transaction, request.caller, request.task, request.body)


@calls.move(HttpMethod.POST, f"{TASK}/cancel", Explain, Task)
def cancel_task(world: World, transaction: Transaction, request: Ask[Explain]) -> object:
    """Cancel a task; the agent that holds it is notified to stop."""
    return decisions.cancel(world, transaction, request.caller, request.task, request.body)


@calls.move(HttpMethod.POST, f"{TASK}/retry", Retry, Task)
def retry_task(world: World, transaction: Transaction, request: Ask[Retry]) -> object:
    """Release a task from quarantine and reset its failures; with `to`, open it for another role (`next_task`)."""
    return decisions.retry(world, transaction, request.caller, request.task, request.body)


@calls.move(HttpMethod.POST, f"{TASK}/reset", Explain, Task)
def reset_task(world: World, transaction: Transaction, request: Ask[Explain]) -> object:
    """Take a task from its holder; the role can claim it again, as a new attempt."""
    return decisions.reset(world, transaction, request.caller, request.task, request.body)


@calls.move(HttpMethod.POST, f"{TASK}/accept", Accept, Task)
def accept_task(world: World, transaction: Transaction, request: Ask[Accept]) -> object:
    """Accept the result that waits for a review or, with `attempt`, the newest late result of that attempt."""
    return decisions.accept(world, transaction, request.caller, request.task, request.body)


@calls.move(HttpMethod.POST, f"{TASK}/send-back", SendBack, Task)
def send_back_task(world: World, transaction: Transaction, request: Ask[SendBack]) -> object:
    """Send a task back to its role, or to the backlog; the reason becomes a note."""
    return decisions.send_back(world, transaction, request.caller, request.task, request.body)


@calls.move(HttpMethod.POST, f"{TASK}/queue", Explain, Task)
def queue_task(world: World, transaction: Transaction, request: Ask[Explain]) -> object:
    """Queue a backlog item: it becomes pending now, or when the room has a free place for a request."""
    return decisions.queue(world, transaction, request.caller, request.task, request.body)


@calls.move(HttpMethod.POST, f"{TASK}/note", AddNote, Task)
def note_task(world: World, transaction: Transaction, request: Ask[AddNote]) -> object:
    """Add a note to a task; its agent gets it with the next heartbeat, or with the claim."""
    return decisions.note(world, transaction, request.caller, request.task, request.body)


@calls.move(HttpMethod.POST, f"{API}/rooms/{{room}}/backlog", AddToBacklog, Task, HTTPStatus.CREATED)
def add_to_backlog(world: World, transaction: Transaction, request: Ask[AddToBacklog]) -> object:
    """Add a task to the backlog; it does not begin until it is queued, and its result waits for a review."""
    return decisions.add_to_backlog(world, transaction, request.caller, request.room, request.body)
