"""Task results: accepts a result, keeps it as a late result, or repeats the answer to an accepted one.

A result counts once: when the attempt that holds the task hands it in, or when a user accepts it later. Every other
result is kept on the task, up to LATE_RESULTS_MAX, for users and for the task's holder.
"""

from typing import Any

import msgspec

from greenroom.domain.alert import LATE_RESULT
from greenroom.domain.errors import GreenroomError, InvalidTransition, NotKept, Superseded
from greenroom.domain.event import room_stream
from greenroom.domain.ids import USER
from greenroom.domain.message import Message
from greenroom.domain.participant import BEAT
from greenroom.domain.room import Room
from greenroom.domain.task import (
    COMPLETED,
    FROM_BACKLOG,
    HELD_STATES,
    LATE_RESULTS_MAX,
    OPEN_STATES,
    PENDING_REVIEW,
    TRANSITIONS,
    LateResult,
    Task,
    allowed_moves,
    is_active,
)
from greenroom.service import alerts, participant_transitions, restart_holds, task_transitions
from greenroom.service.alert_content import AlertFacts
from greenroom.service.context import ServiceContext
from greenroom.store import messages, participants, task_attempts
from greenroom.store.transaction import Reader, Transaction

KEPT = "Your text was kept as a late result; users and the new holder can see it."
KEPT_IN_PLACE = (
    f"Your text was kept as a late result, in place of the oldest one of this attempt: at most {LATE_RESULTS_MAX} are "
    "kept for a task."
)
NOT_KEPT = (
    f"Your text was NOT kept: the task has {LATE_RESULTS_MAX} late results of other attempts already. Write it to a "
    "file, and report where it is."
)


def accept_result(
    context: ServiceContext, tx: Transaction, room: Room, held: Task, to: str, text: str, cause: str
) -> Task:
    """Accept the result of the attempt that holds the task.

    A result for the user, of a request from the backlog, waits for a review: the attempt is over, the task is not.
    """
    needs_review = to == USER and held.origin == FROM_BACKLOG
    end_fields: dict[str, Any] = (
        {"claimed_by": None, "released_at": tx.now.instant} if needs_review else {"completed_at": tx.now.instant}
    )
    fields = send_result(context, tx, room, held, to, text, cause)
    done = task_transitions.apply_move(
        tx,
        held,
        "complete",
        PENDING_REVIEW if needs_review else COMPLETED,
        accepted_attempt=held.attempt,
        **fields,
        **end_fields,
    )
    restart_holds.record_success(tx, room, held)
    return finish_task(context, tx, held, done, "task.handed_in" if needs_review else "task.completed", cause)


def accept_late_result(
    context: ServiceContext, tx: Transaction, room: Room, task: Task, late: LateResult, cause: str
) -> Task:
    """Accept a late result: the task is completed as if that attempt had handed it in."""
    fields = send_result(context, tx, room, task, late.to, late.text, cause)
    done = task_transitions.apply_move(
        tx,
        task,
        "accept",
        claimed_by=None,
        accepted_attempt=late.attempt,
        completed_at=tx.now.instant,
        released_at=get_attempt_end(tx, task),
        **fields,
    )
    return finish_task(context, tx, task, done, "task.completed", cause)


def send_result(
    context: ServiceContext, tx: Transaction, room: Room, task: Task, to: str, text: str, cause: str
) -> dict[str, Any]:
    """Send a result as a message and open the next role's task; returns the changed fields of the task itself."""
    role = task.target_role
    next_task = (
        None
        if to == USER
        else task_transitions.open_task(context, tx, room, to, text, f"handed on by {role}", after=task)
    )
    next_id = next_task.id if next_task is not None else None
    message = Message(
        id=context.new_id("msg"), room=room.id, sender=role, to=to, text=text, task=next_id, at=tx.now.instant
    )
    messages.add(tx, message)
    data = {"message": message.id, "sender": message.sender, "to": to, "task": message.task}
    tx.record_event(room_stream(room.id), "message.sent", cause, data)
    return {"result": text, "handed_to": to, "next_task": next_id}


def finish_task(context: ServiceContext, tx: Transaction, before: Task, done: Task, event: str, cause: str) -> Task:
    """Record that a task has its result, free its holder, and promote the next queued task."""
    task_transitions.record_task(tx, event, cause, done, accepted_attempt=done.accepted_attempt)
    if before.status in HELD_STATES:
        free_holder(context, tx, before)
    return with_details(tx, task_transitions.promote_into_place(context, tx, done))


def get_attempt_end(tx: Transaction, task: Task) -> str | None:
    """When an attempt ended that a user's decision ends now at the latest: now, if it was still under way."""
    return tx.now.instant if is_active(task) else task.released_at


def free_holder(context: ServiceContext, tx: Transaction, held: Task) -> None:
    """Take a task from the participant that holds it: its heartbeats no longer name the task and must continue."""
    task_transitions.clear_task_after_commit(context, tx, held)
    expect_heartbeats(context, tx, held)


def expect_heartbeats(context: ServiceContext, tx: Transaction, held: Task) -> None:
    """Set the lease of the participant that held a task back to that of a waiting one, which sends heartbeats."""
    assert held.claimed_by is not None
    participant_transitions.set_lease_kind(context, tx, held.room, held.target_role, held.claimed_by, BEAT)


# Results that do not count.


def reject_result(tx: Transaction, task: Task, attempt: int, connection_id: str, to: str, text: str) -> GreenroomError:
    """Keep a result that does not count; returns the error that says so: Superseded, or NotKept."""
    outcome = keep_late(tx, task, attempt, connection_id, to, text)
    return lost_attempt_error(task, attempt, "complete", outcome, NotKept if outcome == NOT_KEPT else Superseded)


def keep_late(tx: Transaction, task: Task, attempt: int, connection_id: str, to: str, text: str) -> str:
    """Keep a late result; returns KEPT, KEPT_IN_PLACE or NOT_KEPT. A result that is sent again is kept once.

    Raises the alert about it, unless the task is over: then a decision or another result has settled it.

    At LATE_RESULTS_MAX a new result replaces only the oldest one of its own attempt, never one of another attempt.
    """
    late_results = task_attempts.list_late_results(tx, task.id)
    content = (attempt, connection_id, to, text)
    if any((kept.attempt, kept.connection_id, kept.to, kept.text) == content for kept in late_results):
        return KEPT
    in_place = len(late_results) >= LATE_RESULTS_MAX
    if in_place:
        if all(kept.attempt != attempt for kept in late_results):
            return NOT_KEPT
        task_attempts.delete_oldest_late_result(tx, task.id, attempt)
    late = LateResult(attempt=attempt, connection_id=connection_id, to=to, text=text, at=tx.now.instant)
    task_attempts.add_late_result(tx, task.id, late)
    data = {"task": task.id, "role": task.target_role, "attempt": attempt, "connection_id": connection_id, "to": to}
    tx.record_event(room_stream(task.room), "task.late_result", "a result of an attempt that no longer counts", data)
    if task.status in OPEN_STATES:
        kept_results = task_attempts.list_late_results(tx, task.id)
        alerts.raise_alert(tx, AlertFacts(kind=LATE_RESULT, subject=task.id, task=task, late_results=kept_results))
    return KEPT_IN_PLACE if in_place else KEPT


def demote_reviewed_result(tx: Transaction, task: Task) -> Task:
    """The task without the result that waited for a review: that is kept as a late result, for a user to accept."""
    if task.status != PENDING_REVIEW:
        return task
    assert task.accepted_attempt is not None
    assert task.last_holder is not None
    late = LateResult(
        attempt=task.accepted_attempt,
        connection_id=task.last_holder,
        to=task.handed_to or USER,
        text=task.result or "",
        at=task.released_at or tx.now.instant,
    )
    task_attempts.add_late_result(tx, task.id, late)
    return msgspec.structs.replace(task, accepted_attempt=None, result=None, handed_to=None)


def repeat_answer(tx: Transaction, task: Task, connection_id: str, to: str, text: str) -> Task | GreenroomError:
    """Repeat the answer to the accepted attempt. A text that differs from the accepted one is kept as a late result."""
    assert task.accepted_attempt is not None
    if (to, text) == (task.handed_to, task.result):
        return with_details(tx, task)
    error = reject_result(tx, task, task.accepted_attempt, connection_id, to, text)
    return with_details(tx, task) if to == task.handed_to and not isinstance(error, NotKept) else error


def is_accepted_attempt(reader: Reader, task: Task, connection_id: str, attempt: int) -> bool:
    """Whether the result of that participant and attempt counts, or waits for a review."""
    is_over = task.status in (COMPLETED, PENDING_REVIEW)
    return is_over and task.accepted_attempt == attempt and held_attempt(reader, task, connection_id, attempt)


def held_attempt(reader: Reader, task: Task, connection_id: str, attempt: int) -> bool:
    """Whether that participant held that attempt: only then is its text a result that must be kept."""
    if attempt == task.attempt:
        return task.last_holder == connection_id
    former = task_attempts.get(reader, task.id, attempt)
    if former is not None:
        return former[0] == connection_id
    # The holder of an attempt from before the `attempts` table is unknown: any participant of the role is accepted.
    return attempt < task.attempt and participants.get(reader, task.room, task.target_role, connection_id) is not None


def lost_attempt_error(
    task: Task, attempt: int, trigger: str, guidance: str, kind: type[Superseded] = Superseded
) -> GreenroomError:
    """The error for an attempt that does not count: it no longer counts, or it never existed."""
    if task.attempt == 0:
        return InvalidTransition("task", task.status, trigger, allowed_moves(task.status))
    current = f"is {task.status}" if task.attempt == attempt else f"is at attempt {task.attempt} ({task.status})"
    reason_text = f": {task.reason}" if task.reason and task.attempt == attempt else ""
    what_happened = "no longer counts" if attempt <= task.attempt else "does not exist"
    return kind(f"Attempt {attempt} at task {task.id} {what_happened}: the task {current}{reason_text}.", guidance)


def wrong_attempt_error(task: Task, connection_id: str, attempt: int, trigger: str) -> GreenroomError:
    """The error for a call about an attempt that ended.

    InvalidTransition if it is the task's last attempt and the table has no such move; otherwise Superseded.
    """
    if (task.last_holder, task.attempt) == (connection_id, attempt) and trigger not in TRANSITIONS[task.status]:
        return InvalidTransition("task", task.status, trigger, allowed_moves(task.status))
    return lost_attempt_error(task, attempt, trigger, "Stop working on it, and wait for the next task.")


def with_details(reader: Reader, task: Task) -> Task:
    """The task with its late results and the notes on it."""
    late_results, noted = task_attempts.list_late_results(reader, task.id), task_attempts.list_notes(reader, task.id)
    return msgspec.structs.replace(task, late_results=late_results, notes=noted) if late_results or noted else task
