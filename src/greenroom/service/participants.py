"""Participants: join, heartbeat and leave. A heartbeat is answered from memory."""

from greenroom.clock import format_instant
from greenroom.domain import principal as callers
from greenroom.domain.errors import Conflict
from greenroom.domain.participant import (
    CLOSED,
    DRAIN,
    JOIN_NEW,
    OK,
    REJECT,
    REJOIN,
    SUPERSEDED,
    Participant,
    decide_join,
    judge_call,
)
from greenroom.domain.principal import Principal
from greenroom.domain.role import Role
from greenroom.service import authorization, participant_transitions, takeovers, task_transitions
from greenroom.service.context import ServiceContext
from greenroom.service.state.lease_table import role_key
from greenroom.store import participants, tasks
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import HeartbeatReply, JoinReply, LeaveReply, TaskRef
from greenroom.wire.requests import HeartbeatBody, Join, Leave


def join(
    context: ServiceContext, tx: Transaction, principal: Principal, room_name: str, role_name: str, request: Join
) -> JoinReply:
    """Join a role, or rejoin it. An older participant is answered `superseded`, and nothing changes.

    Raises Conflict for a closed room, and with `if_vacant` for a role that has a present participant.
    """
    room, role = authorization.get_joinable_role(tx, principal, room_name, role_name)
    authorization.require_open_room(room)
    participant = participants.get(tx, room.id, role.name, request.connection_id)
    action = decide_join(participant, role.epoch)
    if action == REJECT:
        return JoinReply(
            status=SUPERSEDED,
            room=room.id,
            epoch=role.epoch,
            ready_until=None,
            next_in_s=context.draw_heartbeat_interval_s(),
            task=None,
        )
    machine = principal.machine if principal.scope == callers.MACHINE else None
    if action == JOIN_NEW:
        if request.if_vacant:
            check_vacant(tx, role, machine)
        present = participant_transitions.begin_participant(
            context, tx, role, request.connection_id, machine, principal.subject
        )
    else:
        assert participant is not None
        resume_lost(context, tx, participant)
        if action == REJOIN:
            present = participant_transitions.return_participant(
                context, tx, participant, machine or participant.machine, "joined again"
            )
        else:
            present = join_again(context, tx, participant, machine)
    held = task_transitions.list_held(tx, present)
    return JoinReply(
        status=DRAIN if role.is_drained else OK,
        room=room.id,
        epoch=present.epoch,
        ready_until=get_ready_until(context, tx, present),
        next_in_s=context.draw_heartbeat_interval_s(),
        spread_retries=context.should_spread_retries,
        task=TaskRef(held[0].id, held[0].attempt) if held else None,
    )


def renew_participant(
    context: ServiceContext, principal: Principal, room_name: str, role_name: str, request: HeartbeatBody
) -> HeartbeatReply:
    """Renew a participant's lease. Uses memory only, on any thread, and never answers `ok` if it renewed nothing."""
    room = context.room_cache.find(room_name)
    if room is None:
        authorization.raise_room_not_found(principal, room_name)
    if role_name not in room.machine_by_role:
        roles = ", ".join(room.machine_by_role)
        authorization.raise_not_found(
            principal, f"role in room {room.name}", role_name, f"`greenroom room show {room.name}`: {roles}"
        )
    if not callers.may_participate(principal, room.id, role_name, room.machine_by_role[role_name]):
        raise authorization.forbidden_error()
    key = role_key(room.id, role_name)
    verdict = context.leases.renew(key, request.connection_id, context.clock.monotonic(), request.pausing)
    in_hand = None
    if verdict == OK:
        lease = context.leases.participants.get(key)
        in_hand = lease.held_task if lease is not None and lease.connection == request.connection_id else None
        if role_name in room.draining_roles:
            verdict = DRAIN
    task, notes = in_hand if in_hand is not None else (None, ())
    return HeartbeatReply(
        status=verdict,
        next_in_s=context.draw_heartbeat_interval_s(),
        task=task,
        notes=notes,
        spread_retries=context.should_spread_retries,
    )


def leave(
    context: ServiceContext, tx: Transaction, principal: Principal, room_name: str, role_name: str, request: Leave
) -> LeaveReply:
    """Close a participant. Its task is released at once; a repeated leave gets the same answer.

    A leave of a superseded participant shows that it has stopped, so the hold on a task taken over from it ends.
    """
    room, role = authorization.get_role_to_leave(tx, principal, room_name, role_name, request.connection_id)
    takeovers.record_stop(context, tx, room.id, role.name, request.connection_id)
    participant = participants.get(tx, room.id, role.name, request.connection_id)
    if participant is not None and participant.status == CLOSED and participant.epoch == role.epoch:
        return LeaveReply(OK)
    if participant is None or participant.status == CLOSED or participant.epoch < role.epoch:
        return LeaveReply(judge_call(participant, role.epoch))
    cause = f"{request.cause}: {request.reason}" if request.reason else request.cause
    participant_transitions.close_participant(context, tx, participant, request.cause, cause, release_as=request.cause)
    return LeaveReply(OK)


def join_again(context: ServiceContext, tx: Transaction, present: Participant, machine: str | None) -> Participant:
    """Handle a join by the present participant: it counts as a heartbeat, and ties it to the daemon that sent it."""
    participant_transitions.renew_lease(context, tx, present.room, present.role, present.connection_id)
    connected_machine = participant_transitions.get_connected_machine(tx, machine)
    if connected_machine is not None and present.machine != connected_machine:
        return participant_transitions.attach_to_machine(context, tx, present, connected_machine)
    participant_transitions.grant_after_commit(context, tx, present)
    return present


def resume_lost(context: ServiceContext, tx: Transaction, participant: Participant) -> None:
    """Resume the task that a returning participant lost by silence, unless it was claimed since."""
    lost = tasks.get_lost_by(tx, participant.room, participant.role, participant.connection_id)
    if lost is not None:
        task_transitions.resume(context, tx, lost, "its holder reconnected")


def check_vacant(tx: Transaction, role: Role, machine: str | None) -> None:
    """Raise Conflict if the role has a present participant.

    A join from a machine (`machine`) may still take over a participant that runs on another machine: the role was
    moved, and its new machine need not wait until the old one learns of it or its lease ends.
    """
    present = participants.get_present(tx, role.room, role.name)
    if present is not None and (machine is None or present.machine in (None, machine)):
        location = f" on machine {present.machine}" if present.machine else ""
        raise Conflict(
            f"{role.name} is taken by {present.connection_id}{location}, since {present.joined_at}.",
            "Choose another role, stop that agent first (`greenroom agent stop ROOM/ROLE`), or take the role over "
            "(`--take-over`).",
        )


def get_ready_until(context: ServiceContext, tx: Transaction, present: Participant) -> str | None:
    """The instant at which a lease that begins now ends; None while a machine beats for the participant."""
    if present.machine is not None:
        return None
    return format_instant(context.clock.wall() + context.get_lease_length_s(present))
