"""Participants: join, heartbeat and leave. A heartbeat is answered from memory."""

from greenroom.clock import instant_of
from greenroom.domain import caller as callers
from greenroom.domain.caller import Caller
from greenroom.domain.errors import Conflict
from greenroom.domain.role import Role
from greenroom.domain.sitting import (
    CLOSED,
    DRAIN,
    OK,
    REFUSE,
    SIT_AGAIN,
    SIT_NEW,
    SUPERSEDED,
    Sitting,
    decide_join,
    judge,
)
from greenroom.service import access, guarding, seating, working
from greenroom.service.leases import seat_key
from greenroom.service.world import World
from greenroom.store import sittings, tasks
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import HeartbeatReply, JoinReply, LeaveReply, TaskRef
from greenroom.wire.requests import Heartbeat, Join, Leave


def join(world: World, tx: Transaction, caller: Caller, room_name: str, role_name: str, request: Join) -> JoinReply:
    """Join a role, or rejoin it. An older participant is answered `superseded`, and nothing changes.

    Raises Conflict for a closed room, and with `if_vacant` for a role that has a present participant.
    """
    room, role = access.seat(tx, caller, room_name, role_name)
    access.open_only(room)
    participant = sittings.get(tx, room.id, role.name, request.connection_id)
    action = decide_join(participant, role.epoch)
    if action == REFUSE:
        return JoinReply(
            status=SUPERSEDED,
            room=room.id,
            epoch=role.epoch,
            ready_until=None,
            next_in_s=world.next_beat_in_s(),
            task=None,
        )
    machine = caller.machine if caller.scope == callers.MACHINE else None
    if action == SIT_NEW:
        if request.if_vacant:
            refuse_if_taken(tx, role, machine)
        present = seating.sit_new(world, tx, role, request.connection_id, machine, caller.subject)
    else:
        assert participant is not None
        resume_lost(world, tx, participant)
        if action == SIT_AGAIN:
            present = seating.sit_again(world, tx, participant, machine or participant.machine, "joined again")
        else:
            present = stay(world, tx, participant, machine)
    held = working.held_by(tx, present)
    return JoinReply(
        status=DRAIN if role.is_drained else OK,
        room=room.id,
        epoch=present.epoch,
        ready_until=ready_until(world, tx, present),
        next_in_s=world.next_beat_in_s(),
        crowded=world.is_crowded,
        task=TaskRef(held[0].id, held[0].attempt) if held else None,
    )


def beat(world: World, caller: Caller, room_name: str, role_name: str, request: Heartbeat) -> HeartbeatReply:
    """Renew a participant's lease. Uses memory only, on any thread, and never answers `ok` if it renewed nothing."""
    room = world.directory.find(room_name)
    if room is None:
        access.missing(caller, "room", room_name, "`greenroom room list` (GET /api/v1/rooms)")
    if role_name not in room.machine_of:
        roles = ", ".join(room.machine_of)
        access.missing(caller, f"role in room {room.name}", role_name, f"`greenroom room show {room.name}`: {roles}")
    if not callers.may_sit(caller, room.id, role_name, room.machine_of[role_name]):
        raise access.refused()
    key = seat_key(room.id, role_name)
    verdict = world.leases.beat(key, request.connection_id, world.clock.monotonic())
    in_hand = None
    if verdict == OK:
        lease = world.leases.seats.get(key)
        in_hand = lease.in_hand if lease is not None and lease.connection == request.connection_id else None
        if role_name in room.drained:
            verdict = DRAIN
    task, notes = in_hand if in_hand is not None else (None, ())
    return HeartbeatReply(
        status=verdict, next_in_s=world.next_beat_in_s(), task=task, notes=notes, crowded=world.is_crowded
    )


def leave(world: World, tx: Transaction, caller: Caller, room_name: str, role_name: str, request: Leave) -> LeaveReply:
    """Close a participant. Its task is released at once; a repeated leave gets the same answer.

    A leave of a superseded participant shows that it has stopped, so the hold on a task taken over from it ends.
    """
    room, role = access.seat_to_leave(tx, caller, room_name, role_name, request.connection_id)
    guarding.has_stopped(world, tx, room.id, role.name, request.connection_id)
    participant = sittings.get(tx, room.id, role.name, request.connection_id)
    if participant is not None and participant.status == CLOSED and participant.epoch == role.epoch:
        return LeaveReply(OK)
    if participant is None or participant.status == CLOSED or participant.epoch < role.epoch:
        return LeaveReply(judge(participant, role.epoch))
    cause = f"{request.cause}: {request.reason}" if request.reason else request.cause
    seating.end(world, tx, participant, request.cause, cause, release_as=request.cause)
    return LeaveReply(OK)


def stay(world: World, tx: Transaction, present: Sitting, machine: str | None) -> Sitting:
    """Handle a join by the present participant: it counts as a heartbeat, and ties it to the daemon that sent it."""
    seating.renew(world, tx, present.room, present.role, present.connection_id)
    connected_machine = seating.lasting(tx, machine)
    if connected_machine is not None and present.machine != connected_machine:
        return seating.attach(world, tx, present, connected_machine)
    seating.after_seated(world, tx, present)
    return present


def resume_lost(world: World, tx: Transaction, participant: Sitting) -> None:
    """Resume the task that a returning participant lost by silence, unless it was claimed since."""
    lost = tasks.lost_by(tx, participant.room, participant.role, participant.connection_id)
    if lost is not None:
        working.resume(world, tx, lost, "its holder reconnected")


def refuse_if_taken(tx: Transaction, role: Role, machine: str | None) -> None:
    """Raise Conflict if the role has a present participant.

    A join from a machine (`machine`) may still take over a participant that runs on another machine: the role was
    moved, and its new machine need not wait until the old one learns of it or its lease ends.
    """
    present = sittings.present(tx, role.room, role.name)
    if present is not None and (machine is None or present.machine in (None, machine)):
        location = f" on machine {present.machine}" if present.machine else ""
        raise Conflict(
            f"{role.name} is taken by {present.connection_id}{location}, since {present.joined_at}.",
            "Choose another role, stop that agent first (`greenroom agent stop ROOM/ROLE`), or take the role over "
            "(`--take-over`).",
        )


def ready_until(world: World, tx: Transaction, present: Sitting) -> str | None:
    """The instant at which a lease that begins now ends; None while a machine beats for the participant."""
    if present.machine is not None:
        return None
    return instant_of(world.clock.wall() + world.lease_length_s(present))
