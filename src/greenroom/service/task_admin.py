"""Task administration for operators: cancel, reset, retry, accept, send back, queue, note, add to the backlog.

Each call but `note` and `add_to_backlog` is one move of the transition table, whichever agent holds the task. They
raise Refused and NotFound, and InvalidTransition for a move that the table does not have.
"""

from greenroom.domain.errors import Conflict, Unusable
from greenroom.domain.ids import USER
from greenroom.domain.principal import Principal
from greenroom.domain.room import Room
from greenroom.domain.task import (
    BACKLOG,
    CLOSED,
    HELD_STATES,
    LATE_RESULTS_MAX,
    OPEN_STATES,
    PENDING,
    PENDING_REVIEW,
    RESET,
    LateResult,
    Task,
    next_state,
)
from greenroom.service import (
    authorization,
    participant_transitions,
    task_notes,
    task_results,
    task_transitions,
    validation,
)
from greenroom.service.context import ServiceContext
from greenroom.store import rooms, task_attempts, tasks
from greenroom.store.transaction import Transaction
from greenroom.wire.requests import Accept, AddNote, AddToBacklog, GiveReason, Retry, SendBack


def cancel(context: ServiceContext, tx: Transaction, principal: Principal, task_id: str, request: GiveReason) -> Task:
    """Close a task that is not over. Its holder's next heartbeat no longer names the task, so the holder stops."""
    task, _ = get_task_and_room(context, tx, principal, task_id, request.reason)
    next_state(task.status, "cancel")
    reason = request.reason or "cancelled"
    held = task.status in HELD_STATES
    closed = task_transitions.apply_move(
        tx,
        task_results.demote_reviewed_result(tx, task),
        "cancel",
        claimed_by=None,
        reason=reason,
        completed_at=tx.now.instant,
        released_at=task_results.get_attempt_end(tx, task),
    )
    task_transitions.record_task(tx, "task.closed", reason, closed)
    if held:
        task_results.free_holder(context, tx, task)
        participant_transitions.request_heartbeat(context, tx, task)
    return task_results.with_details(tx, task_transitions.promote_into_place(context, tx, closed))


def reset(context: ServiceContext, tx: Transaction, principal: Principal, task_id: str, request: GiveReason) -> Task:
    """Release a task from its holder; the next claim begins a new attempt."""
    task, _ = get_task_and_room(context, tx, principal, task_id, request.reason)
    next_state(task.status, "release")
    released = task_transitions.release(context, tx, task, RESET, request.reason or "reset by a user")
    task_transitions.resolve_late_result_alert(tx, task, "the task was reset by a user")
    task_results.expect_heartbeats(context, tx, task)
    participant_transitions.request_heartbeat(context, tx, task)
    return task_results.with_details(tx, released)


def retry(context: ServiceContext, tx: Transaction, principal: Principal, task_id: str, request: Retry) -> Task:
    """Retry a quarantined task in its own role or in another one; it is queued when the room is full.

    Its failures and the hand-offs of its request are counted from 0 again.
    """
    task, room = get_task_and_room(context, tx, principal, task_id, request.reason)
    next_state(task.status, "retry")
    authorization.require_open_room(room)
    if request.to is not None and request.to != task.target_role:
        return retry_in_other_role(context, tx, task, room, request.to, request.reason)
    retried = task_transitions.apply_move(
        tx,
        task,
        "retry",
        task_transitions.get_opening_state(tx, room),
        failures=0,
        handoffs=0,
        reason=None,
        released_cause=None,
        promoted=None,
    )
    task_transitions.record_task(tx, "task.released", request.reason or "retried by a user", retried)
    task_transitions.wake_role(context, tx, retried)
    return task_results.with_details(tx, retried)


def retry_in_other_role(
    context: ServiceContext, tx: Transaction, task: Task, room: Room, role: str, reason: str | None
) -> Task:
    """Close a quarantined task and open a task with its text for another role, in the same request."""
    check_role(room, role)
    reason_text = f"sent to {role}" + (f": {reason}" if reason else "")
    opened = task_transitions.open_in_other_role(
        context, tx, room, role, task, f"sent from {task.target_role} by a user"
    )
    closed = task_transitions.apply_move(
        tx, task, "retry", CLOSED, reason=reason_text, next_task=opened.id, completed_at=tx.now.instant, promoted=None
    )
    task_transitions.record_task(tx, "task.closed", reason_text, closed)
    return task_results.with_details(tx, closed)


def accept(context: ServiceContext, tx: Transaction, principal: Principal, task_id: str, request: Accept) -> Task:
    """Accept the result that waits for a review, or a late result: then the task is completed as if it were in time.

    Raises Conflict when there is no such result, or when the task's request continues with another open task.
    """
    task, room = get_task_and_room(context, tx, principal, task_id, request.reason)
    next_state(task.status, "accept")
    cause = request.reason or f"accepted by {principal.subject}"
    late = find_late_result(tx, task, request.attempt)
    if late is None:
        done = task_transitions.apply_move(tx, task, "accept", completed_at=tx.now.instant)
        return task_results.finish_task(context, tx, task, done, "task.completed", cause)
    if late.to != USER:
        check_role(room, late.to)
        authorization.require_open_room(room)
    open_task = tasks.get_open_of_request(tx, room.id, task.request) if task.status not in OPEN_STATES else None
    if open_task is not None:
        raise Conflict(
            f"The request of task {task.id} continues with {open_task.id}, which is {open_task.status}.",
            f"Wait for the result of {open_task.id}, or cancel it first (`greenroom task cancel {open_task.id}`).",
        )
    participant_transitions.request_heartbeat(context, tx, task)
    return task_results.accept_late_result(
        context, tx, room, task_results.demote_reviewed_result(tx, task), late, cause
    )


def find_late_result(tx: Transaction, task: Task, attempt: int | None) -> LateResult | None:
    """The newest late result of an attempt; None if the result that waits for a review is meant.

    Raises Conflict when there is neither.
    """
    reviewed_attempt = task.accepted_attempt if task.status == PENDING_REVIEW else None
    if attempt is None and reviewed_attempt is not None:
        return None
    late_results = task_attempts.list_late_results(tx, task.id)
    newest = next((late for late in reversed(late_results) if late.attempt == attempt), None)
    if newest is None and (reviewed_attempt is None or reviewed_attempt != attempt):
        named = ", ".join(str(number) for number in sorted({late.attempt for late in late_results}))
        problem = "No result waits for a review" if attempt is None else f"It has no late result of attempt {attempt}"
        raise Conflict(
            f"Task {task.id} is {task.status}. {problem}.",
            f"Accept a late result by its attempt ({named}): `greenroom task accept {task.id} --attempt N`."
            if named
            else f"It has no late results at all; see `greenroom task show {task.id}`.",
        )
    return newest


def send_back(context: ServiceContext, tx: Transaction, principal: Principal, task_id: str, request: SendBack) -> Task:
    """Send a reviewed task back to be done again, or a waiting task to the backlog.

    The reason becomes a note, which the next holder of the task gets.
    """
    task, room = get_task_and_room(context, tx, principal, task_id, request.reason)
    is_pending_again = (request.to or (PENDING if task.status == PENDING_REVIEW else BACKLOG)) == PENDING
    next_state(task.status, "send_back", PENDING if is_pending_again else BACKLOG)
    if is_pending_again:
        authorization.require_open_room(room)
    if request.reason:
        task_notes.add_note(context, tx, task, principal.subject, request.reason)
    check_late_result_space(tx, task)
    sent_back = task_transitions.apply_move(
        tx,
        task_results.demote_reviewed_result(tx, task),
        "send_back",
        task_transitions.get_opening_state(tx, room) if is_pending_again else BACKLOG,
        reason=None,
        released_cause=None,
        released_at=task_results.get_attempt_end(tx, task),
        promoted=None,
    )
    task_transitions.record_task(tx, "task.sent_back", request.reason or principal.subject, sent_back)
    if is_pending_again:
        task_transitions.wake_role(context, tx, sent_back)
    return task_results.with_details(tx, task_transitions.promote_into_place(context, tx, sent_back))


def check_late_result_space(tx: Transaction, task: Task) -> None:
    """Raise Conflict if the result to send back cannot be kept, because the task has its maximum of late results."""
    if task.status == PENDING_REVIEW and len(task_attempts.list_late_results(tx, task.id)) >= LATE_RESULTS_MAX:
        raise Conflict(
            f"Task {task.id} already has {LATE_RESULTS_MAX} late results, and no more are kept.",
            f"Accept a result (`greenroom task accept {task.id}`), or cancel the task "
            f"(`greenroom task cancel {task.id}`) and add a new one (`greenroom backlog add ROOM`).",
        )


def queue_task(
    context: ServiceContext, tx: Transaction, principal: Principal, task_id: str, request: GiveReason
) -> Task:
    """Move a backlog item to pending, or to queued when the room is full."""
    task, room = get_task_and_room(context, tx, principal, task_id, request.reason)
    next_state(task.status, "queue")
    authorization.require_open_room(room)
    queued = task_transitions.apply_move(tx, task, "queue", task_transitions.get_opening_state(tx, room), promoted=None)
    task_transitions.record_task(tx, "task.queued", request.reason or principal.subject, queued)
    task_transitions.wake_role(context, tx, queued)
    return task_results.with_details(tx, queued)


def add_note(context: ServiceContext, tx: Transaction, principal: Principal, task_id: str, request: AddNote) -> Task:
    """Add a note to a task. Its holder gets it with the next heartbeat, a later holder with the claim.

    Raises Conflict for a task that is over.
    """
    task, _ = get_task_and_room(context, tx, principal, task_id, None)
    validation.check_text(context, "text", request.text)
    if task.status not in OPEN_STATES:
        raise Conflict(
            f"Task {task.id} is {task.status}; no agent would read a note on it.",
            "Send a message to the room instead (`greenroom send ROOM`).",
        )
    task_notes.add_note(context, tx, task, principal.subject, request.text)
    participant_transitions.request_heartbeat(context, tx, task)
    return task_results.with_details(tx, task)


def add_to_backlog(
    context: ServiceContext, tx: Transaction, principal: Principal, room_name: str, request: AddToBacklog
) -> Task:
    """Add a task to a room's backlog. Work on it begins when it is queued, and its result waits for a review."""
    room = authorization.get_room_for_operator(tx, principal, room_name)
    authorization.require_open_room(room)
    validation.check_text(context, "text", request.text)
    role = request.to or room.entry_role
    check_role(room, role)
    return task_transitions.open_in_backlog(context, tx, room, role, request.text, principal.subject)


def get_task_and_room(
    context: ServiceContext, tx: Transaction, principal: Principal, task_id: str, reason: str | None
) -> tuple[Task, Room]:
    """The task that an operator names, and its room; also checks the text of the reason."""
    task = authorization.get_task_for_operator(tx, principal, task_id)
    if reason is not None:
        validation.check_text(context, "reason", reason)
    room = rooms.get(tx, task.room)
    assert room is not None
    return task, room


def check_role(room: Room, role: str) -> None:
    """Raise Unusable for a role that the room does not have."""
    if role not in room.roles:
        raise Unusable(f"Room {room.name} has no role {role[:80]!r}.", f"Use one of {', '.join(room.roles)}.")
