"""Tasks for agents: claim, start, progress, complete, hand off, decline; and show and list for all callers.

Every write names the participant and the attempt that it comes from. A write of an attempt that does not hold the task
raises Superseded or InvalidTransition, or Refused under the attempt's own token.
"""

from typing import Any

import msgspec

from greenroom.domain.errors import GreenroomError, NotKept, RejoinRequired, Superseded, Unusable
from greenroom.domain.event import room_stream
from greenroom.domain.ids import USER
from greenroom.domain.participant import ABSENT, BEAT, DETACHED, OK, SUPERSEDED, WORK, judge_call
from greenroom.domain.principal import Principal
from greenroom.domain.role import Role
from greenroom.domain.room import Room
from greenroom.domain.task import HELD_STATES, IN_PROGRESS, QUARANTINED, STATES, Task
from greenroom.service import authorization, participant_transitions, task_results, task_transitions, validation
from greenroom.service.context import ServiceContext
from greenroom.store import participants, rooms, tasks
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import ClaimedTask
from greenroom.wire.requests import AttemptRef, ClaimBody, Complete, Decline, Handoff, Progress


def claim(
    context: ServiceContext, tx: Transaction, principal: Principal, room_name: str, request: ClaimBody
) -> ClaimedTask | None:
    """Claim the oldest pending task of the role, or return the one that is held already; None when there is none.

    Counts as a heartbeat. Raises Superseded or RejoinRequired for a participant that is not present.
    """
    room, role = authorization.get_joinable_role(tx, principal, room_name, request.role)
    participant = participants.get(tx, room.id, role.name, request.connection_id)
    verdict = judge_call(participant, role.epoch)
    if verdict != OK:
        raise not_present_error(verdict, role)
    assert participant is not None
    participant_transitions.renew_lease(context, tx, room.id, role.name, request.connection_id)
    held = tasks.get_held_by(tx, room.id, role.name, request.connection_id)
    if held is None:
        pending = tasks.get_oldest_pending(tx, room.id, role.name) if not role.is_drained else None
        if pending is None or context.takeover_holds.is_held(pending.id):
            return None
        held = task_transitions.claim(context, tx, pending, request.connection_id, principal.subject)
        if held is None:
            raise not_present_error(SUPERSEDED, role)
    if request.detached and participant.lease == BEAT:
        participant_transitions.set_lease_kind(context, tx, room.id, role.name, request.connection_id, DETACHED)
    values: dict[str, Any] = msgspec.structs.asdict(task_results.with_details(tx, held))
    return ClaimedTask(**values, token=context.tokens.make_attempt_token(held))


def start(context: ServiceContext, tx: Transaction, principal: Principal, task_id: str, request: AttemptRef) -> Task:
    """Start a task. A repeated start by the holder changes nothing."""
    held = get_held_task(context, tx, principal, task_id, request, "start")
    return task_results.with_details(tx, start_if_needed(tx, principal, held))


def progress(context: ServiceContext, tx: Transaction, principal: Principal, task_id: str, request: Progress) -> Task:
    """Report progress on a task. Starts the task if it was not started."""
    validation.check_text(context, "text", request.text)
    started = start_if_needed(tx, principal, get_held_task(context, tx, principal, task_id, request, "progress"))
    held = task_transitions.apply_move(tx, started, "progress")
    data = {"task": held.id, "role": held.target_role, "attempt": held.attempt, "text": request.text}
    tx.record_event(room_stream(held.room), "task.progressed", principal.subject, data)
    return task_results.with_details(tx, held)


def start_if_needed(tx: Transaction, principal: Principal, held: Task) -> Task:
    """The task, moved to `in_progress` if it is not there yet."""
    if held.status == IN_PROGRESS:
        return held
    started = task_transitions.apply_move(tx, held, "start", started_at=tx.now.instant)
    task_transitions.record_task(tx, "task.started", principal.subject, started)
    return started


def complete(
    context: ServiceContext, tx: Transaction, principal: Principal, task_id: str, request: Complete
) -> Task | GreenroomError:
    """Hand the result to the user: the request is over or waits for a review, and the next queued one is promoted.

    A result that does not count is kept or rejected, and the error is returned, so that the transaction commits.
    """
    return submit_result(context, tx, principal, task_id, request, USER, request.text)


def handoff(
    context: ServiceContext, tx: Transaction, principal: Principal, task_id: str, request: Handoff
) -> Task | GreenroomError:
    """Hand the result to the next role (or the user): message, completion and the next task in one transaction."""
    return submit_result(context, tx, principal, task_id, request, request.to, request.text)


def submit_result(
    context: ServiceContext,
    tx: Transaction,
    principal: Principal,
    task_id: str,
    request: AttemptRef,
    to: str,
    text: str,
) -> Task | GreenroomError:
    """Complete a task with its result. A result that no longer counts is kept, and the returned error says so."""
    task, role = authorization.get_workable_task(tx, principal, task_id, request.connection_id, request.attempt)
    holds_task = authorization.holds_or_may_resume(tx, task, role, request.connection_id, request.attempt)
    if not holds_task:
        authorization.check_attempt_token_grace(tx, principal, context.limits.attempt_token_grace_s)
    validation.check_text(context, "text", text)
    connection_id, attempt = request.connection_id, request.attempt
    if task_results.is_accepted_attempt(tx, task, connection_id, attempt):
        return task_results.repeat_answer(tx, task, connection_id, to, text)
    room = rooms.get(tx, task.room)
    assert room is not None
    if holds_task or rooms.get_role_or_removed(tx, room.id, to) is None:
        check_receiver(room, to)
    if holds_task:
        held = restore_holder(context, tx, task, role, request)
        return task_results.accept_result(context, tx, room, held, to, text, principal.subject)
    if not task_results.held_attempt(tx, task, connection_id, attempt):
        guidance = "Use the task and attempt that you claimed. The server did not save your text: write it to a file."
        raise task_results.lost_attempt_error(task, attempt, "complete", guidance, NotKept)
    return task_results.reject_result(tx, task, attempt, connection_id, to, text)


def check_receiver(room: Room, to: str) -> None:
    """Raise Unusable if the receiver of a result is neither a role of the room nor the user."""
    if to != USER and to not in room.roles:
        raise Unusable(
            f"Room {room.name} has no role {to[:80]!r}.", f"Hand off to one of {', '.join(room.roles)} or to user."
        )


def decline(context: ServiceContext, tx: Transaction, principal: Principal, task_id: str, request: Decline) -> Task:
    """Decline a task that cannot be done: it is quarantined with the reason until a user decides.

    A repeated decline of the same attempt with the same reason gets the same answer.
    """
    validation.check_text(context, "reason", request.reason)
    reason = f"declined: {request.reason}"
    task, _ = authorization.get_workable_task(tx, principal, task_id, request.connection_id, request.attempt)
    holder = (task.last_holder, task.attempt)
    if (task.status, task.reason) == (QUARANTINED, reason) and holder == (request.connection_id, request.attempt):
        authorization.check_attempt_token_grace(tx, principal, context.limits.attempt_token_grace_s)
        return task_results.with_details(tx, task)
    held = get_held_task(context, tx, principal, task_id, request, "quarantine")
    quarantined = task_transitions.apply_move(
        tx, held, "quarantine", claimed_by=None, reason=reason, released_at=tx.now.instant
    )
    task_transitions.record_task(tx, "task.quarantined", reason, quarantined)
    task_results.free_holder(context, tx, held)
    return task_results.with_details(tx, task_transitions.promote_into_place(context, tx, quarantined))


def show(context: ServiceContext, reader: Reader, principal: Principal, task_id: str) -> Task:
    """Show a task with its late results and notes."""
    return task_results.with_details(reader, authorization.get_readable_task(reader, principal, task_id))


def list_all(
    context: ServiceContext,
    reader: Reader,
    principal: Principal,
    room_name: str,
    status: str | None,
    after: str | None,
    limit: int,
) -> list[Task]:
    """Up to `limit` tasks of a room after the id `after`, oldest first; only those in `status` if it is given."""
    if status is not None and status not in STATES:
        raise Unusable(f"{status[:80]!r} is not a task status.", f"Use one of {', '.join(STATES)}.")
    room = authorization.get_readable_room(reader, principal, room_name)
    return tasks.page(reader, room.id, status, after, limit)


def get_held_task(
    context: ServiceContext, tx: Transaction, principal: Principal, task_id: str, request: AttemptRef, trigger: str
) -> Task:
    """The task, held by that participant and attempt: resumed if it may be, with the participant made present.

    `trigger` is the move that follows, for the error. Raises Refused, Superseded or InvalidTransition.
    """
    task, role = authorization.get_workable_task(tx, principal, task_id, request.connection_id, request.attempt)
    if not authorization.holds_or_may_resume(tx, task, role, request.connection_id, request.attempt):
        if not authorization.is_attempt_current(tx, principal):
            raise authorization.forbidden_error()
        raise task_results.wrong_attempt_error(task, request.connection_id, request.attempt, trigger)
    return restore_holder(context, tx, task, role, request)


def restore_holder(context: ServiceContext, tx: Transaction, task: Task, role: Role, request: AttemptRef) -> Task:
    """The task, held by a participant that may hold it: resumed if it was lost, with the participant present again."""
    held = task if task.status in HELD_STATES else task_transitions.resume(context, tx, task, "its holder reconnected")
    participant = participants.get(tx, task.room, role.name, request.connection_id)
    assert participant is not None
    if participant.status == ABSENT:
        participant = participant_transitions.return_participant(
            context, tx, participant, participant.machine, "it made a call about its task"
        )
    participant_transitions.renew_lease(context, tx, task.room, role.name, request.connection_id)
    if participant.lease != BEAT:
        participant_transitions.set_lease_kind(context, tx, task.room, role.name, request.connection_id, WORK)
    return held


def not_present_error(verdict: str, role: Role) -> GreenroomError:
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
