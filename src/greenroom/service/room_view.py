"""Builds the views of rooms, roles and participants that the API returns, with the status of each role."""

import msgspec

from greenroom.clock import format_instant, parse_instant
from greenroom.domain import role_status as statuses
from greenroom.domain.event import room_stream
from greenroom.domain.machine import Machine
from greenroom.domain.participant import Participant
from greenroom.domain.role import CRASH_LOOPING, STOPPED, Role
from greenroom.domain.room import OPEN, Room
from greenroom.service import takeovers
from greenroom.service.context import ServiceContext
from greenroom.service.state.lease_table import role_key
from greenroom.store import event_log, machines, participants, rooms, tasks
from greenroom.store.transaction import Reader
from greenroom.wire.cursor import StreamCursors
from greenroom.wire.replies import ParticipantView, RoleView, RoomView


def build_room_view(context: ServiceContext, reader: Reader, room: Room) -> RoomView:
    """The view of a room: its roles with their status, the present participants, and the open tasks."""
    present = {participant.role: participant for participant in participants.list_present_in_room(reader, room.id)}
    open_tasks = tasks.list_open_in_room(reader, room.id, context.limits.page_max)
    # A client chooses its connection_id freely: only together with the role does it identify a participant.
    working = {(task.target_role, task.claimed_by) for task in tasks.list_held_in_room(reader, room.id)}
    roles = rooms.list_roles(reader, room.id)
    machines_by_id = {name: machines.get(reader, name) for name in {role.machine for role in roles} if name}
    views = []
    participant_views = []
    for role in roles:
        participant = present.get(role.name)
        machine = machines_by_id.get(role.machine) if role.machine else None
        is_working = participant is not None and (role.name, participant.connection_id) in working
        status = build_role_status(context, effective_spec(room, role), participant, machine, is_working)
        views.append(build_role_view(context, role, participant, status))
        if participant is not None:
            participant_views.append(build_participant_view(context, participant, status.status))
    stream = room_stream(room.id)
    return RoomView(
        id=room.id,
        name=room.name,
        status=room.status,
        entry_role=room.entry_role,
        max_requests=room.max_requests,
        roles=tuple(views),
        participants=tuple(participant_views),
        tasks=tuple(open_tasks),
        cursor=StreamCursors(stream).encode(event_log.get_last_seq(reader, stream)),
        created_at=room.created_at,
    )


def effective_spec(room: Room, role: Role) -> Role:
    """The role with its effective agent spec: in a closed room every agent is desired to be stopped."""
    if room.status == OPEN:
        return role
    return msgspec.structs.replace(
        role, desired=STOPPED, desired_reason="the room is closed", configured_at=room.closed_at
    )


def build_role_status(
    context: ServiceContext, role: Role, participant: Participant | None, machine: Machine | None, working: bool
) -> statuses.RoleStatus:
    """The status of a role, from its stored state and the lease table."""
    cached_room = context.room_cache.find(role.room)
    waits_for, waits_until = takeovers.describe_hold(context, role.room, role.name)
    participant_machine = participant.machine if participant is not None else None
    assigned_machine = role.machine if role.is_run_by_daemon else None
    signs = statuses.RoleObservation(
        role_path=f"{cached_room.name if cached_room is not None else role.room}/{role.name}",
        now=context.now().instant,
        present=participant is not None,
        working=working,
        is_probe_run=participant_machine is not None and role.hold == CRASH_LOOPING,
        machine=machine.name if machine is not None else role.machine,
        previous_machine=participant_machine if participant_machine != assigned_machine else None,
        machine_connected=machine is not None and machine.daemon_connected,
        machine_silent=missed_heartbeat(context, participant_machine if participant is not None else assigned_machine),
        starts_until=start_deadline(context, role),
        stops_until=stop_deadline(context, role) if participant_machine is not None else None,
        waits_for=waits_for,
        waits_until=waits_until,
    )
    return statuses.decide_status(role, signs)


def start_deadline(context: ServiceContext, role: Role) -> str | None:
    """When a daemon's agent should be present at the latest: `start_timeout_s` after nothing delays it any more.

    That is the latest of: the agent spec was set, the machine connected, the restart hold ended, the last participant
    was seen.
    """
    lease = context.leases.machines.get(role.machine or "")
    since = (role.configured_at, lease.connected_at if lease is not None else None, role.hold_until, role.last_seen_at)
    return add_seconds(max(filter(None, since), default=None), context.limits.start_timeout_s)


def stop_deadline(context: ServiceContext, role: Role) -> str | None:
    """When a daemon should have stopped its agent: it learns of the spec with its next heartbeat at the latest."""
    return add_seconds(role.configured_at, context.limits.daemon_heartbeat_interval_s + context.limits.stop_grace_s)


def add_seconds(instant: str | None, seconds: float) -> str | None:
    """The instant that comes `seconds` after another."""
    return format_instant(parse_instant(instant) + seconds) if instant is not None else None


def missed_heartbeat(context: ServiceContext, machine: str | None) -> bool:
    """Whether a connected machine has missed a heartbeat."""
    lease = context.leases.machines.get(machine or "")
    return (
        lease is not None
        and context.clock.monotonic() - lease.last_heartbeat_at > context.limits.daemon_heartbeat_interval_s
    )


def build_role_view(
    context: ServiceContext, role: Role, participant: Participant | None, status: statuses.RoleStatus
) -> RoleView:
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
        run_generation=role.run_generation,
        empty=role.empty,
        desired_by=role.desired_by,
        desired_reason=role.desired_reason,
        configured_at=role.configured_at,
        last_seen_at=get_last_seen(context, role, participant),
    )


def get_last_seen(context: ServiceContext, role: Role, participant: Participant | None) -> str | None:
    """When a participant of the role was last seen, from memory or else from the store."""
    if participant is None:
        return role.last_seen_at
    if participant.machine is not None:
        lease = context.leases.machines.get(participant.machine)
        return lease.seen_at if lease is not None else role.last_seen_at
    own_lease = context.leases.participants.get(role_key(role.room, role.name))
    if own_lease is None:
        return role.last_seen_at
    beaten_at = own_lease.deadline - own_lease.length_s
    return format_instant(context.clock.wall() - max(0.0, context.clock.monotonic() - beaten_at))


def build_participant_view(context: ServiceContext, participant: Participant, status: str) -> ParticipantView:
    """The view of a present participant; `ready_until` is when its lease ends without another heartbeat."""
    own_lease = context.leases.participants.get(role_key(participant.room, participant.role))
    lease = own_lease if participant.machine is None else context.leases.machines.get(participant.machine)
    left_s = lease.deadline - context.clock.monotonic() if lease is not None else None
    return ParticipantView(
        role=participant.role,
        connection_id=participant.connection_id,
        epoch=participant.epoch,
        status=status,
        ready_until=format_instant(context.clock.wall() + left_s) if left_s is not None else None,
        machine=participant.machine,
        joined_at=participant.joined_at,
    )
