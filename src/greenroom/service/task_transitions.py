"""Task transitions: open, promote, claim, release and resume, with all their effects. Shared by several use cases.

Each transition follows the transition table, is saved only if the task is still in the state it came from, and records
its event in the caller's transaction.
"""

from functools import partial
from typing import Any

import msgspec

from greenroom.domain import alert as alert_kinds
from greenroom.domain.alert import alert_key
from greenroom.domain.event import room_stream
from greenroom.domain.participant import Participant
from greenroom.domain.room import Room
from greenroom.domain.task import (
    BACKLOG,
    FROM_BACKLOG,
    LOST,
    OCCUPYING_STATES,
    PENDING,
    PENDING_REVIEW,
    QUARANTINED,
    Task,
    decide_release,
    free_slots,
    initial_state,
    may_have_late_results,
    next_state,
    resumed_state,
)
from greenroom.service import alerts, task_notes
from greenroom.service.alert_content import AlertFacts
from greenroom.service.context import ServiceContext
from greenroom.service.state.lease_table import role_key
from greenroom.service.state.notifications import claim_key
from greenroom.store import machines, rooms, task_attempts, tasks
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import TaskRef

ALERT_KINDS = {QUARANTINED: alert_kinds.QUARANTINED, PENDING_REVIEW: alert_kinds.REVIEW}
"""The states that only a user can end, with the kind of their alert."""
DECISIONS = ("accept", "cancel", "complete", "queue", "retry", "send_back")
"""The moves that decide about a task, and so about the late results that it has by then."""


def list_held(reader: Reader, participant: Participant) -> list[Task]:
    """The tasks that a participant holds: one or none."""
    held = tasks.get_held_by(reader, participant.room, participant.role, participant.connection_id)
    return [held] if held is not None else []


# Opening.


def open_task(
    context: ServiceContext, tx: Transaction, room: Room, role: str, text: str, cause: str, after: Task | None
) -> Task:
    """Open a task for a role: the first of a new request, or the next one of the request of `after`.

    It is quarantined if the request has more than `max_handoffs` hand-offs.
    """
    if after is None:
        return save_new_task(context, tx, new_task(context, tx, room, role, text, get_opening_state(tx, room)), cause)
    # The next task takes the place of the one before it, if that has one in the room.
    status = PENDING if after.status in OCCUPYING_STATES else get_opening_state(tx, room)
    following = msgspec.structs.replace(
        new_task(context, tx, room, role, text, status),
        request=after.request,
        origin=after.origin,
        handoffs=after.handoffs + 1,
    )
    if following.handoffs > context.limits.max_handoffs:
        reason = (
            f"going in circles: {following.handoffs} hand-offs in one request (limit {context.limits.max_handoffs})"
        )
        following = msgspec.structs.replace(following, status=next_state(PENDING, "quarantine"), reason=reason)
    return save_new_task(context, tx, following, cause)


def open_in_backlog(context: ServiceContext, tx: Transaction, room: Room, role: str, text: str, cause: str) -> Task:
    """Open a request in the backlog: no agent works on it until a user queues it."""
    blank_task = new_task(context, tx, room, role, text, BACKLOG)
    return save_new_task(context, tx, msgspec.structs.replace(blank_task, origin=FROM_BACKLOG), cause)


def open_in_other_role(
    context: ServiceContext, tx: Transaction, room: Room, role: str, given_up: Task, cause: str
) -> Task:
    """Open a task with the text and notes of another one, for another role in the same request.

    Its failures and hand-offs begin at 0.
    """
    blank_task = new_task(context, tx, room, role, given_up.text, get_opening_state(tx, room))
    blank_task = msgspec.structs.replace(blank_task, request=given_up.request, origin=given_up.origin)
    opened = save_new_task(context, tx, blank_task, cause)
    task_notes.copy_notes(tx, given_up.id, opened.id)
    return opened


def new_task(context: ServiceContext, tx: Transaction, room: Room, role: str, text: str, status: str) -> Task:
    """A new task that begins a request of its own."""
    task_id = context.new_id("task")
    return Task(
        id=task_id,
        room=room.id,
        request=task_id,
        target_role=role,
        status=status,
        text=text,
        created_at=tx.now.instant,
    )


def save_new_task(context: ServiceContext, tx: Transaction, task: Task, cause: str) -> Task:
    """Save a new task, record its events, raise its alert if it is quarantined, and wake its role if it is pending."""
    tasks.add(tx, task)
    record_task(tx, "task.opened", cause, task)
    if task.status == QUARANTINED:
        record_task(tx, "task.quarantined", task.reason or "", task)
        update_alert(tx, None, task)
    if task.status == PENDING:
        wake_role(context, tx, task)
    return task


def get_opening_state(tx: Transaction, room: Room) -> str:
    """The state in which a task begins: pending, or queued when the room is full."""
    return initial_state(tasks.count_occupying(tx, room.id), room.max_requests)


# Moving.


def apply_move(tx: Transaction, before: Task, trigger: str, to: str | None = None, **changes: Any) -> Task:
    """Move a task by the transition table and save it, with its alert. Every change of state but a claim goes this way.

    Raises InvalidTransition, and changes nothing, if the table has no such move.
    """
    after = msgspec.structs.replace(before, status=next_state(before.status, trigger, to), **changes)
    tasks.save(tx, before, after)
    if after.status != before.status:
        update_alert(tx, before, after)
    if trigger in DECISIONS and may_have_late_results(before):
        resolve_late_result_alert(tx, before, f"the task is {after.status}")
    return after


def update_alert(tx: Transaction, before: Task | None, after: Task) -> None:
    """Raise the alert for a task that waits for a user from now on, and resolve that of a task that no longer does."""
    if before is not None and before.status in ALERT_KINDS:
        alerts.resolve_alert(tx, alert_key(ALERT_KINDS[before.status], before.id), f"the task is {after.status}")
    if after.status in ALERT_KINDS:
        alerts.raise_alert(tx, AlertFacts(kind=ALERT_KINDS[after.status], subject=after.id, task=after))


def resolve_late_result_alert(tx: Transaction, task: Task, cause: str) -> None:
    """Resolve the alert that a task has late results: a later decision about the task covers them."""
    alerts.resolve_alert(tx, alert_key(alert_kinds.LATE_RESULT, task.id), cause)


def promote(context: ServiceContext, tx: Transaction, room: Room, cause: str) -> list[Task]:
    """Move queued tasks to pending, oldest first, while the room has free places; returns those tasks."""
    promoted: list[Task] = []
    while (queued := tasks.get_oldest_queued(tx, room.id)) is not None:
        if not free_slots(tasks.count_occupying(tx, room.id), room.max_requests):
            break
        pending = apply_move(tx, queued, "promote")
        record_task(tx, "task.promoted", cause, pending)
        wake_role(context, tx, pending)
        promoted.append(pending)
    return promoted


def promote_into_place(
    context: ServiceContext, tx: Transaction, task: Task, cause: str = "a place became free"
) -> Task:
    """Promote queued tasks into the place that a task left; returns that task, with the first of them in `promoted`."""
    room = rooms.get(tx, task.room)
    assert room is not None
    promoted = promote(context, tx, room, cause)
    updated = msgspec.structs.replace(task, promoted=promoted[0].id if promoted else None)
    if updated != task:
        tasks.save(tx, task, updated)
    return updated


def claim(context: ServiceContext, tx: Transaction, pending: Task, connection_id: str, cause: str) -> Task | None:
    """Give a pending task to a participant, as a new attempt; None if that is not present in the task's role."""
    next_state(pending.status, "claim")
    if pending.last_holder is not None:
        ended_at = pending.released_at or tx.now.instant
        task_attempts.add(tx, pending.id, pending.attempt, pending.last_holder, ended_at)
    held = tasks.claim(tx, pending.id, connection_id)
    if held is None:
        return None
    record_task(tx, "task.claimed", cause, held)
    hold_after_commit(context, tx, held, note_texts=())  # The answer to the claim has all earlier notes.
    return held


def release(
    context: ServiceContext,
    tx: Transaction,
    held: Task,
    kind: str,
    cause: str,
    machine_connected: bool = False,
    is_probe: bool = False,
) -> Task:
    """Release a held task: it is pending again in its role, or quarantined after too many failures.

    `kind` is the kind of end (EXITED, LOST, ...); `cause` is the text for users.
    """
    assert held.claimed_by is not None
    status, failures = decide_release(held, kind, machine_connected, context.limits.task_failures_max, is_probe)
    is_quarantined = status == QUARANTINED
    after = apply_move(
        tx,
        held,
        "quarantine" if is_quarantined else "release",
        failures=failures,
        claimed_by=None,
        released_cause=kind,
        released_at=tx.now.instant,
        reason=f"{failures} attempts failed: {cause}" if is_quarantined else held.reason,
    )
    record_task(tx, "task.quarantined" if is_quarantined else "task.released", cause, after)
    clear_task_after_commit(context, tx, held)
    if is_quarantined:
        return promote_into_place(context, tx, after, cause)
    wake_role(context, tx, after)
    return after


def release_lost(context: ServiceContext, tx: Transaction, task: Task, holder: Participant | None) -> None:
    """Release a task whose holder did not return. It counts as a failure only if the holder's machine is connected.

    That is the machine of the participant: its role may be assigned to another machine by now.
    """
    machine = machines.get(tx, holder.machine) if holder is not None and holder.machine is not None else None
    cause = f"no heartbeat of its holder for {context.limits.task_lost_after_s:g} s after its lease expired"
    release(context, tx, task, LOST, cause, machine_connected=machine is not None and machine.daemon_connected)


def close_lost_attempt(tx: Transaction, ended: Participant, cause: str) -> None:
    """End the lost attempt of a participant that is closed now: the attempt is over, and can no longer be resumed."""
    lost = tasks.get_lost_by(tx, ended.room, ended.role, ended.connection_id)
    if lost is not None:
        tasks.save(tx, lost, msgspec.structs.replace(lost, released_cause=cause, released_at=tx.now.instant))


def resume(context: ServiceContext, tx: Transaction, lost: Task, cause: str) -> Task:
    """Give a lost task back to the participant that held it, under the same attempt."""
    resumed = apply_move(
        tx, lost, "resume", resumed_state(lost), claimed_by=lost.last_holder, released_cause=None, released_at=None
    )
    record_task(tx, "task.resumed", cause, resumed)
    hold_after_commit(context, tx, resumed, note_texts=task_notes.list_for_holder(tx, resumed))
    return resumed


# Effects after the commit.


def hold_after_commit(context: ServiceContext, tx: Transaction, held: Task, note_texts: tuple[str, ...]) -> None:
    """After the commit, the holder's heartbeats name the task and deliver the notes, and its release timer stops."""
    assert held.claimed_by is not None
    ref = TaskRef(held.id, held.attempt)
    tx.on_commit(
        partial(context.leases.set_task, role_key(held.room, held.target_role), held.claimed_by, ref, note_texts)
    )
    tx.on_commit(partial(context.leases.stop_timer, held.id))


def clear_task_after_commit(context: ServiceContext, tx: Transaction, held: Task) -> None:
    """After the commit, the holder's heartbeats no longer name the task, and its release timer stops."""
    assert held.claimed_by is not None
    tx.on_commit(partial(context.leases.set_task, role_key(held.room, held.target_role), held.claimed_by, None))
    tx.on_commit(partial(context.leases.stop_timer, held.id))


def wake_role(context: ServiceContext, tx: Transaction, task: Task) -> None:
    """After the commit, wake the standing claims of the task's role."""
    tx.on_commit(partial(context.notifications.notify, claim_key(task.room, task.target_role)))


def record_task(tx: Transaction, type: str, cause: str, task: Task, **more: object) -> None:
    """Record the event of a task, with its state and `more` as data."""
    data = {
        "task": task.id,
        "request": task.request,
        "role": task.target_role,
        "status": task.status,
        "attempt": task.attempt,
        "connection_id": task.claimed_by or task.last_holder,
        "failures": task.failures,
    }
    tx.record_event(room_stream(task.room), type, cause, data | more)
