"""Tasks for agents: claim, start, progress, complete, hand off, decline; and show and list for all callers.

Every write names the participant and the attempt that it comes from. A write of an attempt that does not hold the task
raises Superseded or InvalidTransition, or Refused under the attempt's own token.
"""

from typing import Any

import msgspec

from greenroom.domain.caller import Caller
from greenroom.domain.errors import GreenroomError, NotKept, RejoinRequired, Superseded, Unusable
from greenroom.domain.event import room_stream
from greenroom.domain.ids import USER
from greenroom.domain.role import Role
from greenroom.domain.room import Room
from greenroom.domain.sitting import ABSENT, BEAT, HANDED, OK, SUPERSEDED, WORK, judge
from greenroom.domain.task import HELD_STATES, IN_PROGRESS, QUARANTINED, STATES, Task
from greenroom.service import access, results, seating, texts, working
from greenroom.service.world import World
from greenroom.store import rooms, sittings, tasks
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import ClaimedTask
from greenroom.wire.requests import Claim, Complete, Decline, Handoff, OnAttempt, Progress


def claim(world: World, tx: Transaction, caller: Caller, room_name: str, request: Claim) -> ClaimedTask | None:
    """Claim the oldest pending task of the role, or return the one that is held already; None when there is none.

    Counts as a heartbeat. Raises Superseded or RejoinRequired for a participant that is not present.
    """
    room, role = access.seat(tx, caller, room_name, request.role)
    participant = sittings.get(tx, room.id, role.name, request.connection_id)
    verdict = judge(participant, role.epoch)
    if verdict != OK:
        raise lost_seat(verdict, role)
    assert participant is not None
    seating.renew(world, tx, room.id, role.name, request.connection_id)
    held = tasks.held_by(tx, room.id, role.name, request.connection_id)
    if held is None:
        pending = tasks.oldest_pending(tx, room.id, role.name) if not role.is_drained else None
        if pending is None or world.guards.holds_back(pending.id):
            return None
        held = working.claim(world, tx, pending, request.connection_id, caller.subject)
        if held is None:
            raise lost_seat(SUPERSEDED, role)
    if request.hand_over and participant.lease == BEAT:
        seating.rest_lease(world, tx, room.id, role.name, request.connection_id, HANDED)
    values: dict[str, Any] = msgspec.structs.asdict(results.full(tx, held))
    return ClaimedTask(**values, token=world.keys.attempt_token(held))


def start(world: World, tx: Transaction, caller: Caller, task_id: str, request: OnAttempt) -> Task:
    """Start a task. A repeated start by the holder changes nothing."""
    held = take_up(world, tx, caller, task_id, request, "start")
    return results.full(tx, begin(tx, caller, held))


def progress(world: World, tx: Transaction, caller: Caller, task_id: str, request: Progress) -> Task:
    """Report progress on a task. Starts the task if it was not started."""
    texts.check(world, "text", request.text)
    started = begin(tx, caller, take_up(world, tx, caller, task_id, request, "progress"))
    held = working.step(tx, started, "progress")
    data = {"task": held.id, "role": held.target_role, "attempt": held.attempt, "text": request.text}
    tx.record(room_stream(held.room), "task.progressed", caller.subject, data)
    return results.full(tx, held)


def begin(tx: Transaction, caller: Caller, held: Task) -> Task:
    """The task, moved to `in_progress` if it is not there yet."""
    if held.status == IN_PROGRESS:
        return held
    started = working.step(tx, held, "start", started_at=tx.now.instant)
    working.record(tx, "task.started", caller.subject, started)
    return started


def complete(world: World, tx: Transaction, caller: Caller, task_id: str, request: Complete) -> Task | GreenroomError:
    """Hand the result to the user: the request is over or waits for a review, and the next queued one is promoted.

    A result that does not count is kept or rejected, and the error is returned, so that the transaction commits.
    """
    return hand_on(world, tx, caller, task_id, request, USER, request.text)


def handoff(world: World, tx: Transaction, caller: Caller, task_id: str, request: Handoff) -> Task | GreenroomError:
    """Hand the result to the next role (or the user): message, completion and the next task in one transaction."""
    return hand_on(world, tx, caller, task_id, request, request.to, request.text)


def hand_on(
    world: World, tx: Transaction, caller: Caller, task_id: str, request: OnAttempt, to: str, text: str
) -> Task | GreenroomError:
    """Complete a task with its result. A result that no longer counts is kept, and the returned error says so."""
    task, role = access.task_to_work_on(tx, caller, task_id, request.connection_id, request.attempt)
    holds_task = access.has(tx, task, role, request.connection_id, request.attempt)
    if not holds_task:
        access.hear_out(tx, caller, world.limits.attempt_token_kept_s)
    texts.check(world, "text", text)
    connection_id, attempt = request.connection_id, request.attempt
    if results.is_accepted(tx, task, connection_id, attempt):
        return results.answer_again(tx, task, connection_id, to, text)
    room = rooms.get(tx, task.room)
    assert room is not None
    if holds_task or rooms.role_ever(tx, room.id, to) is None:
        check_receiver(room, to)
    if holds_task:
        held = seat_holder(world, tx, task, role, request)
        return results.hand_in(world, tx, room, held, to, text, caller.subject)
    if not results.had(tx, task, connection_id, attempt):
        guidance = "Use the task and attempt that you claimed. The server did not save your text: write it to a file."
        raise results.given_away(task, attempt, "complete", guidance, NotKept)
    return results.refuse(tx, task, attempt, connection_id, to, text)


def check_receiver(room: Room, to: str) -> None:
    """Raise Unusable if the receiver of a result is neither a role of the room nor the user."""
    if to != USER and to not in room.roles:
        raise Unusable(
            f"Room {room.name} has no role {to[:80]!r}.", f"Hand off to one of {', '.join(room.roles)} or to user."
        )


def decline(world: World, tx: Transaction, caller: Caller, task_id: str, request: Decline) -> Task:
    """Decline a task that cannot be done: it is quarantined with the reason until a user decides.

    A repeated decline of the same attempt with the same reason gets the same answer.
    """
    texts.check(world, "reason", request.reason)
    reason = f"declined: {request.reason}"
    task, _ = access.task_to_work_on(tx, caller, task_id, request.connection_id, request.attempt)
    holder = (task.last_holder, task.attempt)
    if (task.status, task.reason) == (QUARANTINED, reason) and holder == (request.connection_id, request.attempt):
        access.hear_out(tx, caller, world.limits.attempt_token_kept_s)
        return results.full(tx, task)
    held = take_up(world, tx, caller, task_id, request, "quarantine")
    quarantined = working.step(tx, held, "quarantine", claimed_by=None, reason=reason, released_at=tx.now.instant)
    working.record(tx, "task.quarantined", reason, quarantined)
    results.free_holder(world, tx, held)
    return results.full(tx, working.leave_place(world, tx, quarantined))


def show(world: World, reader: Reader, caller: Caller, task_id: str) -> Task:
    """Show a task with its late results and notes."""
    return results.full(reader, access.task_to_read(reader, caller, task_id))


def list_all(
    world: World, reader: Reader, caller: Caller, room_name: str, status: str | None, after: str | None, limit: int
) -> list[Task]:
    """Up to `limit` tasks of a room after the id `after`, oldest first; only those in `status` if it is given."""
    if status is not None and status not in STATES:
        raise Unusable(f"{status[:80]!r} is not a task status.", f"Use one of {', '.join(STATES)}.")
    room = access.room_to_read(reader, caller, room_name)
    return tasks.page(reader, room.id, status, after, limit)


def take_up(world: World, tx: Transaction, caller: Caller, task_id: str, request: OnAttempt, trigger: str) -> Task:
    """The task, held by that participant and attempt: resumed if it may be, with the participant made present.

    `trigger` is the move that follows, for the error. Raises Refused, Superseded or InvalidTransition.
    """
    task, role = access.task_to_work_on(tx, caller, task_id, request.connection_id, request.attempt)
    if not access.has(tx, task, role, request.connection_id, request.attempt):
        if not access.attempt_is_current(tx, caller):
            raise access.refused()
        raise results.out_of_turn(task, request.connection_id, request.attempt, trigger)
    return seat_holder(world, tx, task, role, request)


def seat_holder(world: World, tx: Transaction, task: Task, role: Role, request: OnAttempt) -> Task:
    """The task, held by a participant that may hold it: resumed if it was lost, with the participant present again."""
    held = task if task.status in HELD_STATES else working.resume(world, tx, task, "its holder reconnected")
    participant = sittings.get(tx, task.room, role.name, request.connection_id)
    assert participant is not None
    if participant.status == ABSENT:
        participant = seating.sit_again(world, tx, participant, participant.machine, "it made a call about its task")
    seating.renew(world, tx, task.room, role.name, request.connection_id)
    if participant.lease != BEAT:
        seating.rest_lease(world, tx, task.room, role.name, request.connection_id, WORK)
    return held


def lost_seat(verdict: str, role: Role) -> GreenroomError:
    """The error for a claim by a participant that is not present."""
    if verdict == SUPERSEDED:
        return Superseded(
            f"A newer participant has the role {role.name}, or this one left it.",
            "Stop: this connection will not get any more tasks.",
        )
    return RejoinRequired(
        f"This connection is not present in the role {role.name}.",
        "Join again with the same connection_id, then claim.",
    )
