"""Task administration for operators: cancel, reset, retry, accept, send back, queue, note, add to the backlog.

Each call but `note` and `add_to_backlog` is one move of the transition table, whichever agent holds the task. They
raise Refused and NotFound, and InvalidTransition for a move that the table does not have.
"""

from greenroom.domain.caller import Caller
from greenroom.domain.errors import Conflict, Unusable
from greenroom.domain.ids import USER
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
    move,
)
from greenroom.service import access, notes, results, seating, texts, working
from greenroom.service.world import World
from greenroom.store import attempts, rooms, tasks
from greenroom.store.transaction import Transaction
from greenroom.wire.requests import Accept, AddNote, AddToBacklog, Explain, Retry, SendBack


def cancel(world: World, tx: Transaction, caller: Caller, task_id: str, request: Explain) -> Task:
    """Close a task that is not over. Its holder's next heartbeat no longer names the task, so the holder stops."""
    task, _ = find(world, tx, caller, task_id, request.reason)
    move(task.status, "cancel")
    reason = request.reason or "cancelled"
    held = task.status in HELD_STATES
    closed = working.step(
        tx,
        results.set_aside(tx, task),
        "cancel",
        claimed_by=None,
        reason=reason,
        completed_at=tx.now.instant,
        released_at=results.ended_at(tx, task),
    )
    working.record(tx, "task.closed", reason, closed)
    if held:
        results.free_holder(world, tx, task)
        seating.call_up(world, tx, task)
    return results.full(tx, working.leave_place(world, tx, closed))


def reset(world: World, tx: Transaction, caller: Caller, task_id: str, request: Explain) -> Task:
    """Release a task from its holder; the next claim begins a new attempt."""
    task, _ = find(world, tx, caller, task_id, request.reason)
    move(task.status, "release")
    released = working.release(world, tx, task, RESET, request.reason or "reset by a user")
    results.rest_holder(world, tx, task)
    seating.call_up(world, tx, task)
    return results.full(tx, released)


def retry(world: World, tx: Transaction, caller: Caller, task_id: str, request: Retry) -> Task:
    """Retry a quarantined task in its own role or in another one; it is queued when the room is full.

    Its failures and the hand-offs of its request are counted from 0 again.
    """
    task, room = find(world, tx, caller, task_id, request.reason)
    move(task.status, "retry")
    access.open_only(room)
    if request.to is not None and request.to != task.target_role:
        return send_elsewhere(world, tx, task, room, request.to, request.reason)
    retried = working.step(
        tx,
        task,
        "retry",
        working.place_for(tx, room),
        deaths=0,
        handoffs=0,
        reason=None,
        released_cause=None,
        promoted=None,
    )
    working.record(tx, "task.released", request.reason or "retried by a user", retried)
    working.wake_role(world, tx, retried)
    return results.full(tx, retried)


def send_elsewhere(world: World, tx: Transaction, task: Task, room: Room, role: str, reason: str | None) -> Task:
    """Close a quarantined task and open a task with its text for another role, in the same request."""
    check_role(room, role)
    reason_text = f"sent to {role}" + (f": {reason}" if reason else "")
    opened = working.open_elsewhere(world, tx, room, role, task, f"sent from {task.target_role} by a user")
    closed = working.step(
        tx, task, "retry", CLOSED, reason=reason_text, next_task=opened.id, completed_at=tx.now.instant, promoted=None
    )
    working.record(tx, "task.closed", reason_text, closed)
    return results.full(tx, closed)


def accept(world: World, tx: Transaction, caller: Caller, task_id: str, request: Accept) -> Task:
    """Accept the result that waits for a review, or a late result: then the task is completed as if it were in time.

    Raises Conflict when there is no such result, or when the task's request continues with another open task.
    """
    task, room = find(world, tx, caller, task_id, request.reason)
    move(task.status, "accept")
    cause = request.reason or f"accepted by {caller.subject}"
    late = late_result(tx, task, request.attempt)
    if late is None:
        done = working.step(tx, task, "accept", completed_at=tx.now.instant)
        return results.conclude(world, tx, task, done, "task.completed", cause)
    if late.to != USER:
        check_role(room, late.to)
        access.open_only(room)
    open_task = tasks.open_of(tx, room.id, task.request) if task.status not in OPEN_STATES else None
    if open_task is not None:
        raise Conflict(
            f"The request of task {task.id} continues with {open_task.id}, which is {open_task.status}.",
            f"Wait for the result of {open_task.id}, or cancel it first (`greenroom task cancel {open_task.id}`).",
        )
    seating.call_up(world, tx, task)
    return results.take_late(world, tx, room, results.set_aside(tx, task), late, cause)


def late_result(tx: Transaction, task: Task, attempt: int | None) -> LateResult | None:
    """The newest late result of an attempt; None if the result that waits for a review is meant.

    Raises Conflict when there is neither.
    """
    reviewed_attempt = task.accepted_attempt if task.status == PENDING_REVIEW else None
    if attempt is None and reviewed_attempt is not None:
        return None
    late_results = attempts.late_of(tx, task.id)
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


def send_back(world: World, tx: Transaction, caller: Caller, task_id: str, request: SendBack) -> Task:
    """Send a reviewed task back to be done again, or a waiting task to the backlog.

    The reason becomes a note, which the next holder of the task gets.
    """
    task, room = find(world, tx, caller, task_id, request.reason)
    is_pending_again = (request.to or (PENDING if task.status == PENDING_REVIEW else BACKLOG)) == PENDING
    move(task.status, "send_back", PENDING if is_pending_again else BACKLOG)
    if is_pending_again:
        access.open_only(room)
    if request.reason:
        notes.write(world, tx, task, caller.subject, request.reason)
    check_room_for_result(tx, task)
    sent_back = working.step(
        tx,
        results.set_aside(tx, task),
        "send_back",
        working.place_for(tx, room) if is_pending_again else BACKLOG,
        reason=None,
        released_cause=None,
        released_at=results.ended_at(tx, task),
        promoted=None,
    )
    working.record(tx, "task.sent_back", request.reason or caller.subject, sent_back)
    if is_pending_again:
        working.wake_role(world, tx, sent_back)
    return results.full(tx, working.leave_place(world, tx, sent_back))


def check_room_for_result(tx: Transaction, task: Task) -> None:
    """Raise Conflict if the result to send back cannot be kept, because the task has its maximum of late results."""
    if task.status == PENDING_REVIEW and len(attempts.late_of(tx, task.id)) >= LATE_RESULTS_MAX:
        raise Conflict(
            f"Task {task.id} already has {LATE_RESULTS_MAX} late results, and no more are kept.",
            f"Accept a result (`greenroom task accept {task.id}`), or cancel the task "
            f"(`greenroom task cancel {task.id}`) and add a new one (`greenroom backlog add ROOM`).",
        )


def queue(world: World, tx: Transaction, caller: Caller, task_id: str, request: Explain) -> Task:
    """Move a backlog item to pending, or to queued when the room is full."""
    task, room = find(world, tx, caller, task_id, request.reason)
    move(task.status, "queue")
    access.open_only(room)
    queued = working.step(tx, task, "queue", working.place_for(tx, room), promoted=None)
    working.record(tx, "task.queued", request.reason or caller.subject, queued)
    working.wake_role(world, tx, queued)
    return results.full(tx, queued)


def note(world: World, tx: Transaction, caller: Caller, task_id: str, request: AddNote) -> Task:
    """Add a note to a task. Its holder gets it with the next heartbeat, a later holder with the claim.

    Raises Conflict for a task that is over.
    """
    task, _ = find(world, tx, caller, task_id, None)
    texts.check(world, "text", request.text)
    if task.status not in OPEN_STATES:
        raise Conflict(
            f"Task {task.id} is {task.status}; no agent would read a note on it.",
            "Send a message to the room instead (`greenroom send ROOM`).",
        )
    notes.write(world, tx, task, caller.subject, request.text)
    seating.call_up(world, tx, task)
    return results.full(tx, task)


def add_to_backlog(world: World, tx: Transaction, caller: Caller, room_name: str, request: AddToBacklog) -> Task:
    """Add a task to a room's backlog. Work on it begins when it is queued, and its result waits for a review."""
    room = access.room_for_operator(tx, caller, room_name)
    access.open_only(room)
    texts.check(world, "text", request.text)
    role = request.to or room.entry_role
    check_role(room, role)
    return working.open_in_backlog(world, tx, room, role, request.text, caller.subject)


def find(world: World, tx: Transaction, caller: Caller, task_id: str, reason: str | None) -> tuple[Task, Room]:
    """The task that an operator names, and its room; also checks the text of the reason."""
    task = access.task_to_move(tx, caller, task_id)
    if reason is not None:
        texts.check(world, "reason", reason)
    room = rooms.get(tx, task.room)
    assert room is not None
    return task, room


def check_role(room: Room, role: str) -> None:
    """Raise Unusable for a role that the room does not have."""
    if role not in room.roles:
        raise Unusable(f"Room {room.name} has no role {role[:80]!r}.", f"Use one of {', '.join(room.roles)}.")
