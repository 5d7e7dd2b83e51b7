"""Builds the views of rooms, roles and participants that the API returns, with the status of each role."""

import msgspec

from greenroom.clock import instant_of, seconds_of
from greenroom.domain import status as statuses
from greenroom.domain.event import room_stream
from greenroom.domain.machine import Machine
from greenroom.domain.role import PARKED, STOPPED, Role
from greenroom.domain.room import OPEN, Room
from greenroom.domain.sitting import Sitting
from greenroom.service import guarding
from greenroom.service.leases import seat_key
from greenroom.service.world import World
from greenroom.store import log, machines, rooms, sittings, tasks
from greenroom.store.transaction import Reader
from greenroom.wire.replies import ParticipantView, RoleView, RoomView


def view(world: World, reader: Reader, room: Room) -> RoomView:
    """The view of a room: its roles with their status, the present participants, and the open tasks."""
    present = {sitting.role: sitting for sitting in sittings.present_in(reader, room.id)}
    open_tasks = tasks.open_in(reader, room.id, world.limits.page_max)
    # A client chooses its connection_id freely: only together with the role does it identify a participant.
    working = {(task.target_role, task.claimed_by) for task in tasks.held_in(reader, room.id)}
    roles = rooms.roles_of(reader, room.id)
    machines_by_id = {name: machines.get(reader, name) for name in {role.machine for role in roles} if name}
    views = []
    participants = []
    for role in roles:
        sitting = present.get(role.name)
        machine = machines_by_id.get(role.machine) if role.machine else None
        is_working = sitting is not None and (role.name, sitting.connection_id) in working
        status = judge(world, as_wished_in(room, role), sitting, machine, is_working)
        views.append(role_view(world, role, sitting, status))
        if sitting is not None:
            participants.append(participant_view(world, sitting, status.status))
    return RoomView(
        id=room.id,
        name=room.name,
        status=room.status,
        entry_role=room.entry_role,
        max_requests=room.max_requests,
        roles=tuple(views),
        participants=tuple(participants),
        tasks=tuple(open_tasks),
        cursor=log.last_seq(reader, room_stream(room.id)),
        created_at=room.created_at,
    )


def as_wished_in(room: Room, role: Role) -> Role:
    """The role with its effective agent spec: in a closed room every agent is desired to be stopped."""
    if room.status == OPEN:
        return role
    return msgspec.structs.replace(role, desired=STOPPED, desired_reason="the room is closed", wished_at=room.closed_at)


def judge(
    world: World, role: Role, sitting: Sitting | None, machine: Machine | None, working: bool
) -> statuses.RoleStatus:
    """The status of a role, from its stored state and the lease table."""
    cached_room = world.directory.find(role.room)
    waits_for, waits_until = guarding.told(world, role.room, role.name)
    participant_machine = sitting.machine if sitting is not None else None
    assigned_machine = role.machine if role.is_run_by_daemon else None
    signs = statuses.Signs(
        seat=f"{cached_room.name if cached_room is not None else role.room}/{role.name}",
        now=world.now().instant,
        present=sitting is not None,
        working=working,
        on_trial=participant_machine is not None and role.rests_as == PARKED,
        machine=machine.name if machine is not None else role.machine,
        moves_from=participant_machine if participant_machine != assigned_machine else None,
        machine_connected=machine is not None and machine.daemon_connected,
        machine_silent=is_silent(world, participant_machine if sitting is not None else assigned_machine),
        starts_until=starts_until(world, role),
        stops_until=stops_until(world, role) if participant_machine is not None else None,
        waits_for=waits_for,
        waits_until=waits_until,
    )
    return statuses.judge(role, signs)


def starts_until(world: World, role: Role) -> str | None:
    """When a daemon's agent should be present at the latest: `start_timeout_s` after nothing delays it any more.

    That is the latest of: the agent spec was set, the machine connected, the restart hold ended, the last participant
    was seen.
    """
    lease = world.leases.machines.get(role.machine or "")
    since = (role.wished_at, lease.since if lease is not None else None, role.rests_until, role.last_seen_at)
    return later(max(filter(None, since), default=None), world.limits.start_timeout_s)


def stops_until(world: World, role: Role) -> str | None:
    """When a daemon should have stopped its agent: it learns of the spec with its next heartbeat at the latest."""
    return later(role.wished_at, world.limits.daemon_heartbeat_interval_s + world.limits.stop_grace_s)


def later(instant: str | None, seconds: float) -> str | None:
    """The instant that comes `seconds` after another."""
    return instant_of(seconds_of(instant) + seconds) if instant is not None else None


def is_silent(world: World, machine: str | None) -> bool:
    """Whether a connected machine has missed a heartbeat."""
    lease = world.leases.machines.get(machine or "")
    return lease is not None and world.clock.monotonic() - lease.beaten_at > world.limits.daemon_heartbeat_interval_s


def role_view(world: World, role: Role, sitting: Sitting | None, status: statuses.RoleStatus) -> RoleView:
    """The view of a role. `last_seen_at` of a present participant is that of its last heartbeat."""
    return RoleView(
        name=role.name,
        kind=role.kind,
        desired=role.desired,
        status=status.status,
        status_reason=status.reason,
        status_until=status.until,
        generation=role.generation,
        machine=role.machine,
        harness=role.harness,
        model=role.model,
        workdir=role.workdir,
        task_timeout_s=role.task_timeout_s,
        desired_by=role.desired_by,
        desired_reason=role.desired_reason,
        wished_at=role.wished_at,
        last_seen_at=seen_at(world, role, sitting),
    )


def seen_at(world: World, role: Role, sitting: Sitting | None) -> str | None:
    """When a participant of the role was last seen, from memory or else from the store."""
    if sitting is None:
        return role.last_seen_at
    if sitting.machine is not None:
        lease = world.leases.machines.get(sitting.machine)
        return lease.seen_at if lease is not None else role.last_seen_at
    own_lease = world.leases.seats.get(seat_key(role.room, role.name))
    if own_lease is None:
        return role.last_seen_at
    beaten_at = own_lease.deadline - own_lease.length_s
    return instant_of(world.clock.wall() - max(0.0, world.clock.monotonic() - beaten_at))


def participant_view(world: World, sitting: Sitting, status: str) -> ParticipantView:
    """The view of a present participant; `ready_until` is when its lease ends without another heartbeat."""
    own_lease = world.leases.seats.get(seat_key(sitting.room, sitting.role))
    lease = own_lease if sitting.machine is None else world.leases.machines.get(sitting.machine)
    left_s = lease.deadline - world.clock.monotonic() if lease is not None else None
    return ParticipantView(
        role=sitting.role,
        connection_id=sitting.connection_id,
        epoch=sitting.epoch,
        status=status,
        ready_until=instant_of(world.clock.wall() + left_s) if left_s is not None else None,
        machine=sitting.machine,
        joined_at=sitting.joined_at,
    )
