"""What agents and people do with tasks. Every write of an agent names its sitting and attempt; must not know HTTP."""

from typing import Any

import msgspec

from greenroom.clock import seconds_of
from greenroom.domain import occupancy
from greenroom.domain.caller import ATTEMPT, Caller
from greenroom.domain.errors import GreenroomError, InvalidTransition, NotFound, RejoinRequired, Superseded, Unusable
from greenroom.domain.event import room_stream
from greenroom.domain.ids import USER
from greenroom.domain.message import Message
from greenroom.domain.role import Role
from greenroom.domain.sitting import ABSENT, CLOSED, HANDED, OK, SUPERSEDED, WORK, judge
from greenroom.domain.sitting import BEAT as BEATING
from greenroom.domain.task import CLOSED as TASK_CLOSED
from greenroom.domain.task import (
    COMPLETED,
    HELD_STATES,
    IN_PROGRESS,
    OCCUPYING_STATES,
    RESET,
    STATES,
    Task,
    allowed_moves,
    can_resume,
    is_completed_by,
    is_held_by,
    move,
)
from greenroom.service import access, seating, texts, working
from greenroom.service.world import World
from greenroom.store import messages, rooms, sittings, tasks
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import ClaimedTask
from greenroom.wire.requests import Claim, Complete, Decline, Explain, Handoff, OnAttempt, Progress

KEPT = "What you wrote was kept as a late result; people and the new holder can see it."


def claim(world: World, tx: Transaction, caller: Caller, room_name: str, request: Claim) -> ClaimedTask | None:
    """Take the oldest task of one's role, or the one already in hand; None when there is none. Counts as a beat."""
    room, role = access.seat(tx, caller, room_name, request.role)
    known = sittings.get(tx, room.id, role.name, request.connection_id)
    verdict = judge(known, role.epoch)
    if verdict != OK:
        raise lost_seat(verdict, role)
    assert known is not None
    seating.renew(world, tx, room.id, role.name, request.connection_id)
    held = tasks.held_by(tx, room.id, role.name, request.connection_id)
    if held is None:
        pending = tasks.oldest_pending(tx, room.id, role.name) if not role.is_drained else None
        if pending is None:
            return None
        move(pending.status, "claim")
        if not tasks.claim(tx, pending.id, request.connection_id):
            raise lost_seat(SUPERSEDED, role)
        held = read(tx, pending.id)
        working.record(tx, "task.claimed", caller.subject, held)
        working.take_in_hand(world, tx, held)
    if request.hand_over and known.lease == BEATING:
        seating.rest_lease(world, tx, room.id, role.name, request.connection_id, HANDED)
    late = tasks.late_of(tx, held.id)
    values: dict[str, Any] = msgspec.structs.asdict(held) | {
        "late_results": late,
        "token": world.keys.attempt_token(held),
    }
    return ClaimedTask(**values)


def start(world: World, tx: Transaction, caller: Caller, task_id: str, request: OnAttempt) -> Task:
    """Say that the work begins. Repeated by the holder, it changes nothing."""
    held = take_up(world, tx, caller, task_id, request, "start")
    if held.status != IN_PROGRESS:
        started = msgspec.structs.replace(held, status=move(held.status, "start"), started_at=tx.now.instant)
        tasks.save(tx, held, started)
        working.record(tx, "task.started", caller.subject, started)
        held = started
    return held


def progress(world: World, tx: Transaction, caller: Caller, task_id: str, request: Progress) -> Task:
    """Tell people how the work goes. It begins the work if that was not said."""
    texts.check(world, "text", request.text)
    held = start(world, tx, caller, task_id, request)
    move(held.status, "progress")
    data = {"task": held.id, "role": held.target_role, "attempt": held.attempt, "text": request.text}
    tx.record(room_stream(held.room), "task.progressed", caller.subject, data)
    return held


def complete(world: World, tx: Transaction, caller: Caller, task_id: str, request: Complete) -> Task | GreenroomError:
    """Hand the result to the user: the request is over, and the next one that is queued begins."""
    return hand_on(world, tx, caller, task_id, request, USER, request.text)


def handoff(world: World, tx: Transaction, caller: Caller, task_id: str, request: Handoff) -> Task | GreenroomError:
    """Hand the result to the next role (or the user): message, completion and the next task in one step."""
    return hand_on(world, tx, caller, task_id, request, request.to, request.text)


def hand_on(
    world: World, tx: Transaction, caller: Caller, task_id: str, request: OnAttempt, to: str, text: str
) -> Task | GreenroomError:
    """End a task with its result. A result that no longer counts is kept, and the error says so."""
    task, role = access.task_to_work_on(tx, caller, task_id, request.attempt)
    room = rooms.get(tx, task.room)
    assert room is not None
    if to != USER and to not in room.roles:
        raise Unusable(
            f"Room {room.name} has no role {to[:80]!r}.", f"Hand off to one of {', '.join(room.roles)} or to user."
        )
    texts.check(world, "text", text)
    if is_completed_by(task, request.connection_id, request.attempt):
        expire_token(world, tx, caller, task)
        return answer_again(tx, task, request, to, text)
    if not may_take_up(tx, role, task, request):
        if not was_given(tx, role, task, request):
            raise given_away(task, request.attempt, "complete", "Name the task and the attempt that you were given.")
        working.keep_late(tx, task, request.attempt, request.connection_id, to, text)
        return given_away(task, request.attempt, "complete", KEPT)
    held = seat_holder(world, tx, task, role, request)
    move(held.status, "complete")
    following = (
        None if to == USER else working.open_task(world, tx, room, to, text, f"handed on by {role.name}", after=held)
    )
    said = Message(
        id=world.new_id("msg"),
        room=room.id,
        sender=role.name,
        to=to,
        text=text,
        task=following.id if following is not None else None,
        at=tx.now.instant,
    )
    messages.add(tx, said)
    tx.record(
        room_stream(room.id),
        "message.sent",
        caller.subject,
        {"message": said.id, "sender": said.sender, "to": to, "task": said.task},
    )
    done = msgspec.structs.replace(
        held,
        status=COMPLETED,
        completed_at=tx.now.instant,
        result=text,
        handed_to=to,
        next_task=following.id if following is not None else None,
    )
    tasks.save(tx, held, done)
    working.record(tx, "task.completed", caller.subject, done)
    promoted = working.promote(world, tx, room, "a place became free")
    if promoted:
        named = msgspec.structs.replace(done, promoted=promoted[0].id)
        tasks.save(tx, done, named)
        done = named
    working.let_go(world, tx, held)
    seating.rest_lease(world, tx, room.id, role.name, request.connection_id, BEATING)
    return full(tx, done)


def answer_again(tx: Transaction, task: Task, request: OnAttempt, to: str, text: str) -> Task | GreenroomError:
    """Answer the accepted attempt as the first time. What it says otherwise now was not accepted, and yet is kept."""
    if (to, text) != (task.handed_to, task.result):
        working.keep_late(tx, task, request.attempt, request.connection_id, to, text)
    return full(tx, task) if to == task.handed_to else given_away(task, request.attempt, "complete", KEPT)


def decline(world: World, tx: Transaction, caller: Caller, task_id: str, request: Decline) -> Task:
    """Give a task back as one that cannot be done: it is set apart, with the reason, until a person looks at it."""
    held = take_up(world, tx, caller, task_id, request, "quarantine")
    reason = f"declined: {request.reason}"
    apart = msgspec.structs.replace(held, status=move(held.status, "quarantine"), claimed_by=None, reason=reason)
    tasks.save(tx, held, apart)
    working.record(tx, "task.quarantined", reason, apart)
    working.let_go(world, tx, held)
    seating.rest_lease(world, tx, held.room, held.target_role, request.connection_id, BEATING)
    return with_promoted(world, tx, apart)


def cancel(world: World, tx: Transaction, caller: Caller, task_id: str, request: Explain) -> Task:
    """Close a task that is not over. Its holder's next beat no longer names it, and the holder stops."""
    task = access.task_to_move(tx, caller, task_id)
    return end_by_person(world, tx, task, move(task.status, "cancel"), "task.closed", request.reason or "cancelled")


def reset(world: World, tx: Transaction, caller: Caller, task_id: str, request: Explain) -> Task:
    """Take a task from its holder and give it to whoever claims it next, as a new attempt."""
    task = access.task_to_move(tx, caller, task_id)
    move(task.status, "release")
    released = working.release(world, tx, task, RESET, request.reason or "reset by a person")
    assert task.claimed_by is not None
    seating.rest_lease(world, tx, task.room, task.target_role, task.claimed_by, BEATING)
    return full(tx, released)


def retry(world: World, tx: Transaction, caller: Caller, task_id: str, request: Explain) -> Task:
    """Let a quarantined task be tried again, with its deaths forgotten; it waits when the room is full."""
    task = access.task_to_move(tx, caller, task_id)
    room = rooms.get(tx, task.room)
    assert room is not None
    status = occupancy.opening_state(tasks.occupying(tx, room.id), room.max_requests)
    again = msgspec.structs.replace(
        task, status=move(task.status, "retry", status), deaths=0, reason=None, released_cause=None
    )
    tasks.save(tx, task, again)
    working.record(tx, "task.released", request.reason or "tried again by a person", again)
    working.wake_role(world, tx, again)
    return full(tx, again)


def show(world: World, reader: Reader, caller: Caller, task_id: str) -> Task:
    """Read a task, with its late results."""
    return full(reader, access.task_to_read(reader, caller, task_id))


def list_all(
    world: World, reader: Reader, caller: Caller, room_name: str, status: str | None, after: str | None, limit: int
) -> list[Task]:
    """Read a room's tasks, oldest first, perhaps only those of one status."""
    if status is not None and status not in STATES:
        raise Unusable(f"{status[:80]!r} is no status of a task.", f"Ask for one of {', '.join(STATES)}.")
    room = access.room_to_read(reader, caller, room_name)
    return tasks.page(reader, room.id, status, after, limit)


def take_up(world: World, tx: Transaction, caller: Caller, task_id: str, request: OnAttempt, trigger: str) -> Task:
    """The task, if that sitting and attempt hold it or may take it up again; its sitting is seated with it.

    `trigger` is what is to be done with it.
    """
    task, role = access.task_to_work_on(tx, caller, task_id, request.attempt)
    if not may_take_up(tx, role, task, request):
        if caller.scope == ATTEMPT and task.status not in OCCUPYING_STATES:
            raise access.refused()
        raise given_away(task, request.attempt, trigger, "Stop working on it, and wait for the next task.")
    return seat_holder(world, tx, task, role, request)


def seat_holder(world: World, tx: Transaction, task: Task, role: Role, request: OnAttempt) -> Task:
    """The task in its holder's hands, who may take it up: resumed if silence took it, and its sitting seated again."""
    held = task if task.status in HELD_STATES else working.resume(world, tx, task, "its holder came back")
    known = sittings.get(tx, task.room, role.name, request.connection_id)
    assert known is not None
    if known.status == ABSENT:
        known = seating.sit_again(world, tx, known, known.machine, "its holder came back")
    seating.renew(world, tx, task.room, role.name, request.connection_id)
    if known.lease != BEATING:
        seating.rest_lease(world, tx, task.room, role.name, request.connection_id, WORK)
    return held


def may_take_up(tx: Transaction, role: Role, task: Task, request: OnAttempt) -> bool:
    """Tell whether that attempt holds the task, or lost it by silence alone while nobody newer came to its role."""
    known = sittings.get(tx, task.room, role.name, request.connection_id)
    if known is None or known.status == CLOSED or known.epoch < role.epoch:
        return False
    holder = (task, request.connection_id, request.attempt)
    return is_held_by(*holder) or can_resume(*holder)


def was_given(tx: Transaction, role: Role, task: Task, request: OnAttempt) -> bool:
    """Tell whether that sitting can have had that attempt: only then is what it wrote work that must not be lost."""
    if request.attempt == task.attempt:
        return task.last_holder == request.connection_id
    known = sittings.get(tx, task.room, role.name, request.connection_id)
    return request.attempt < task.attempt and known is not None


def given_away(task: Task, attempt: int, trigger: str, then: str) -> GreenroomError:
    """The error for an attempt that does not count: no longer, or it was never there."""
    if task.attempt == 0:
        return InvalidTransition("task", task.status, trigger, allowed_moves(task.status))
    now = f"is {task.status}" if task.attempt == attempt else f"is at attempt {task.attempt} ({task.status})"
    fate = "no longer counts" if attempt <= task.attempt else "was never given to anybody"
    return Superseded(f"Attempt {attempt} at task {task.id} {fate}: the task {now}.", then)


def lost_seat(verdict: str, role: Role) -> GreenroomError:
    """The error for a claim by a sitting that is not present."""
    if verdict == SUPERSEDED:
        return Superseded(
            f"A newer sitting has the role {role.name}, or this one left it.",
            "Stop: this connection will not get work again.",
        )
    return RejoinRequired(
        f"This connection is not present in the role {role.name}.",
        "Join again with the same connection_id, then claim.",
    )


def end_by_person(world: World, tx: Transaction, task: Task, status: str, event: str, reason: str) -> Task:
    """End a task by a person's word, whoever holds it."""
    ended = msgspec.structs.replace(task, status=status, claimed_by=None, reason=reason)
    if status == TASK_CLOSED:
        ended = msgspec.structs.replace(ended, completed_at=tx.now.instant)
    tasks.save(tx, task, ended)
    working.record(tx, event, reason, ended)
    if task.claimed_by is not None:
        working.let_go(world, tx, task)
        seating.rest_lease(world, tx, task.room, task.target_role, task.claimed_by, BEATING)
    return with_promoted(world, tx, ended)


def with_promoted(world: World, tx: Transaction, ended: Task) -> Task:
    """The ended task, with the one that took its place named in it."""
    promoted = working.promote_in(world, tx, ended.room, "a place became free")
    named = msgspec.structs.replace(ended, promoted=promoted[0].id if promoted else None)
    tasks.save(tx, ended, named)
    return full(tx, named)


def expire_token(world: World, tx: Transaction, caller: Caller, task: Task) -> None:
    """Refuse an attempt's token once its time to have an earlier call answered again is over."""
    if caller.scope == ATTEMPT and task.completed_at is not None:
        age_s = seconds_of(tx.now.instant) - seconds_of(task.completed_at)
        if age_s > world.limits.attempt_token_kept_s:
            raise access.refused()


def read(reader: Reader, task_id: str) -> Task:
    """Read a task that is known to be there."""
    task = tasks.get(reader, task_id)
    if task is None:
        raise NotFound(f"There is no task {task_id!r}.", "See what there is with `greenroom task list ROOM`.")
    return task


def full(reader: Reader, task: Task) -> Task:
    """The task with its late results."""
    late = tasks.late_of(reader, task.id)
    return msgspec.structs.replace(task, late_results=late) if late else task
