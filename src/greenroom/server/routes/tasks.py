"""Calls about tasks: those of agents and those of users."""

from http import HTTPMethod, HTTPStatus

from greenroom.domain.task import Task
from greenroom.server import long_poll
from greenroom.server.context import ServerContext
from greenroom.server.endpoints import API_PREFIX, EndpointTable
from greenroom.server.request import Request, TasksQuery
from greenroom.service import task_admin, tasks
from greenroom.service.context import ServiceContext
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import ClaimedTask
from greenroom.wire.requests import (
    Accept,
    AddNote,
    AddToBacklog,
    AttemptRef,
    ClaimBody,
    Complete,
    Decline,
    GiveReason,
    Handoff,
    Progress,
    Retry,
    SendBack,
)

calls = EndpointTable()

OF_ROOM = f"{API_PREFIX}/rooms/{{room}}/tasks"
TASK = f"{API_PREFIX}/tasks/{{task}}"


@calls.custom(HTTPMethod.POST, f"{OF_ROOM}/claim", ClaimBody, ClaimedTask | None)
async def claim_task(server: ServerContext, request: Request[ClaimBody]) -> object:
    """Claim the role's next task, waiting up to `wait_s` seconds for one; 204 when there was none in time."""
    return await long_poll.wait_for_task(server, request)


@calls.query(OF_ROOM, list[Task], TasksQuery)
def list_tasks(context: ServiceContext, reader: Reader, request: Request[None]) -> object:
    """List a room's tasks, oldest first."""
    query, limit = request.query, request.page_size(context.limits)
    return tasks.list_all(context, reader, request.principal, request.room, query.status, query.after, limit)


@calls.query(TASK, Task)
def show_task(context: ServiceContext, reader: Reader, request: Request[None]) -> object:
    """Show a task with its late results and its notes."""
    return tasks.show(context, reader, request.principal, request.task)


@calls.idempotent_post(HTTPMethod.POST, f"{TASK}/start", AttemptRef, Task)
def start_task(context: ServiceContext, transaction: Transaction, request: Request[AttemptRef]) -> object:
    """Report that work on the task has started."""
    return tasks.start(context, transaction, request.principal, request.task, request.body)


@calls.idempotent_post(HTTPMethod.POST, f"{TASK}/progress", Progress, Task)
def progress_task(context: ServiceContext, transaction: Transaction, request: Request[Progress]) -> object:
    """Report progress on the task."""
    return tasks.progress(context, transaction, request.principal, request.task, request.body)


@calls.idempotent_post(HTTPMethod.POST, f"{TASK}/complete", Complete, Task)
def complete_task(context: ServiceContext, transaction: Transaction, request: Request[Complete]) -> object:
    """Complete the task with a result for the user; `promoted` names the queued task that can begin now."""
    return tasks.complete(context, transaction, request.principal, request.task, request.body)


@calls.idempotent_post(HTTPMethod.POST, f"{TASK}/handoff", Handoff, Task)
def hand_off_task(context: ServiceContext, transaction: Transaction, request: Request[Handoff]) -> object:
    """Complete the task and hand its result to another role or the user; `next_task` names the task that it opened."""
    return tasks.handoff(context, transaction, request.principal, request.task, request.body)


@calls.idempotent_post(HTTPMethod.POST, f"{TASK}/decline", Decline, Task)
def decline_task(context: ServiceContext, transaction: Transaction, request: Request[Decline]) -> object:
    """Decline the task with a reason; it is quarantined until a user decides."""
    return tasks.decline(context, transaction, request.principal, request.task, request.body)


@calls.idempotent_post(HTTPMethod.POST, f"{TASK}/cancel", GiveReason, Task)
def cancel_task(context: ServiceContext, transaction: Transaction, request: Request[GiveReason]) -> object:
    """Cancel a task; the agent that holds it is notified to stop."""
    return task_admin.cancel(context, transaction, request.principal, request.task, request.body)


@calls.idempotent_post(HTTPMethod.POST, f"{TASK}/retry", Retry, Task)
def retry_task(context: ServiceContext, transaction: Transaction, request: Request[Retry]) -> object:
    """Release a task from quarantine and reset its failures; with `to`, open it for another role (`next_task`)."""
    return task_admin.retry(context, transaction, request.principal, request.task, request.body)


@calls.idempotent_post(HTTPMethod.POST, f"{TASK}/reset", GiveReason, Task)
def reset_task(context: ServiceContext, transaction: Transaction, request: Request[GiveReason]) -> object:
    """Take a task from its holder; the role can claim it again, as a new attempt."""
    return task_admin.reset(context, transaction, request.principal, request.task, request.body)


@calls.idempotent_post(HTTPMethod.POST, f"{TASK}/accept", Accept, Task)
def accept_task(context: ServiceContext, transaction: Transaction, request: Request[Accept]) -> object:
    """Accept the result that waits for a review or, with `attempt`, the newest late result of that attempt."""
    return task_admin.accept(context, transaction, request.principal, request.task, request.body)


@calls.idempotent_post(HTTPMethod.POST, f"{TASK}/send-back", SendBack, Task)
def send_back_task(context: ServiceContext, transaction: Transaction, request: Request[SendBack]) -> object:
    """Send a task back to its role, or to the backlog; the reason becomes a note."""
    return task_admin.send_back(context, transaction, request.principal, request.task, request.body)


@calls.idempotent_post(HTTPMethod.POST, f"{TASK}/queue", GiveReason, Task)
def queue_task(context: ServiceContext, transaction: Transaction, request: Request[GiveReason]) -> object:
    """Queue a backlog item: it becomes pending now, or when the room has a free place for a request."""
    return task_admin.queue_task(context, transaction, request.principal, request.task, request.body)


@calls.idempotent_post(HTTPMethod.POST, f"{TASK}/note", AddNote, Task)
def note_task(context: ServiceContext, transaction: Transaction, request: Request[AddNote]) -> object:
    """Add a note to a task; its agent gets it with the next heartbeat, or with the claim."""
    return task_admin.add_note(context, transaction, request.principal, request.task, request.body)


@calls.idempotent_post(HTTPMethod.POST, f"{API_PREFIX}/rooms/{{room}}/backlog", AddToBacklog, Task, HTTPStatus.CREATED)
def add_to_backlog(context: ServiceContext, transaction: Transaction, request: Request[AddToBacklog]) -> object:
    """Add a task to the backlog; it does not begin until it is queued, and its result waits for a review."""
    return task_admin.add_to_backlog(context, transaction, request.principal, request.room, request.body)
