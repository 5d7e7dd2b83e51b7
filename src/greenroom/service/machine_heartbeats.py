"""Machine heartbeats: connects, renews, reconnects and disconnects a machine together with the agents it holds.

The heartbeat of a connected machine is answered from memory. A heartbeat that changes something (the machine was
disconnected, the incarnation is new, an agent must become present again, the daemon leaves) goes through the store and
is answered after the commit.
"""

from collections.abc import Callable
from functools import partial

import msgspec

from greenroom.domain import principal as callers
from greenroom.domain.event import machine_stream
from greenroom.domain.machine import Machine, judge_incarnation
from greenroom.domain.participant import DRAIN, OK, PRESENT, REJOIN_REQUIRED, SUPERSEDED, judge_call
from greenroom.domain.principal import Principal
from greenroom.domain.role import CRASH_LOOPING
from greenroom.service import (
    alerts,
    authorization,
    cloned_machines,
    participant_transitions,
    participants,
    takeovers,
    task_notes,
    task_transitions,
)
from greenroom.service.context import ServiceContext
from greenroom.service.state.lease_table import MachineLease
from greenroom.store import machines
from greenroom.store import participants as stored_participants
from greenroom.store import rooms as stored
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import AgentVerdict, MachineHeartbeatReply, TaskRef
from greenroom.wire.requests import HeldAgent, MachineHeartbeat


def renew_machine(
    context: ServiceContext, principal: Principal, machine_id: str, request: MachineHeartbeat
) -> MachineHeartbeatReply | None:
    """Renew a machine's lease and answer a verdict for each of its agents, from memory.

    None when the heartbeat needs the store: then call `process_heartbeat`. Raises Refused.
    """
    if not callers.may_act_as_machine(principal, machine_id):
        raise authorization.forbidden_error()
    now = context.now()
    lease = context.leases.machines.get(machine_id)
    if lease is None or request.leaving:
        return None
    find = context.room_cache.find
    rooms = [find(agent.room) for agent in request.agents]
    agent_keys = [
        (f"{room.id if room is not None else ''}/{agent.role}", agent.connection_id)
        for agent, room in zip(request.agents, rooms, strict=True)
    ]
    leases = context.leases.renew_machine(machine_id, request.incarnation, agent_keys, now.monotonic, now.instant)
    if leases is None:
        return None
    takeovers.release_dropped(context, machine_id, request.agents)
    verdicts = []
    for agent, room, (key, connection), agent_lease in zip(request.agents, rooms, agent_keys, leases, strict=True):
        if agent_lease is None or room is None:
            verdicts.append(AgentVerdict(agent.room, agent.role, context.leases.get_verdict(key, connection)))
        else:
            status = DRAIN if agent.role in room.draining_roles else OK
            verdicts.append(AgentVerdict(agent.room, agent.role, status, *(agent_lease.held_task or (None, ()))))
    return MachineHeartbeatReply(
        status=OK,
        daemon_connected=True,
        next_in_s=context.draw_machine_heartbeat_interval_s(),
        assignments_version=lease.assignments_version,
        agents=tuple(verdicts),
        spread_retries=context.should_spread_retries,
    )


def process_heartbeat(
    context: ServiceContext,
    tx: Transaction,
    principal: Principal,
    machine_id: str,
    request: MachineHeartbeat,
    is_disconnected: Callable[[], bool] = lambda: False,
) -> MachineHeartbeatReply:
    """Process a heartbeat that changes something: connects the machine and its agents in one transaction.

    `is_disconnected` returns whether the sender has closed its connection by now. A heartbeat of an older incarnation
    is answered `superseded` and changes nothing else.
    """
    machine = authorization.get_machine(tx, principal, machine_id)
    epoch = machines.get_incarnation_epoch(tx, machine.id, request.incarnation)
    verdict = judge_incarnation(epoch, machine.incarnation_epoch)
    if verdict == SUPERSEDED:
        if not request.leaving and not is_disconnected():
            cloned_machines.record_older_incarnation(context, tx, machine, request.incarnation)
        return MachineHeartbeatReply(
            status=SUPERSEDED,
            daemon_connected=machine.daemon_connected,
            next_in_s=context.draw_machine_heartbeat_interval_s(),
            assignments_version=machine.assignments_version,
        )
    if request.leaving:
        return disconnect_leaving(context, tx, machine)
    changed = msgspec.structs.replace(machine, last_seen_at=tx.now.instant)
    if verdict == "new":
        changed = msgspec.structs.replace(
            changed, incarnation=request.incarnation, incarnation_epoch=machine.incarnation_epoch + 1
        )
        machines.add_incarnation(tx, machine.id, request.incarnation, changed.incarnation_epoch)
        end_missing_participants(context, tx, machine, request.agents)
    changed = msgspec.structs.replace(changed, daemon_connected=True)
    machines.save(tx, machine, changed)
    if verdict == "new" or not machine.daemon_connected:
        cause = "its daemon was started" if verdict == "new" else "heartbeats resumed"
        data = {
            "machine": machine.id,
            "name": machine.name,
            "incarnation": request.incarnation,
            "daemon_connected": True,
            "slept_s": request.slept_s,
        }
        tx.record_event(machine_stream(machine.id), "machine.reconnected", cause, data)
    tx.on_commit(partial(grant_machine_lease, context, changed))
    tx.on_commit(partial(takeovers.release_dropped, context, machine.id, request.agents))
    return MachineHeartbeatReply(
        status=OK,
        daemon_connected=True,
        next_in_s=context.draw_machine_heartbeat_interval_s(),
        assignments_version=machine.assignments_version,
        agents=tuple(restore_held_agent(context, tx, principal, machine, agent) for agent in request.agents),
        spread_retries=context.should_spread_retries,
    )


def disconnect_leaving(context: ServiceContext, tx: Transaction, machine: Machine) -> MachineHeartbeatReply:
    """Disconnect a machine at once, on the last heartbeat of a daemon that was stopped on purpose."""
    if machine.daemon_connected:
        disconnect_machine(context, tx, machine, "its daemon was stopped", tx.now.instant)
    tx.on_commit(partial(takeovers.release_dropped, context, machine.id, []))
    return MachineHeartbeatReply(
        status=OK,
        daemon_connected=False,
        next_in_s=context.draw_machine_heartbeat_interval_s(),
        assignments_version=machine.assignments_version,
    )


def disconnect_machine(
    context: ServiceContext, tx: Transaction, machine: Machine, cause: str, seen_at: str | None
) -> None:
    """Record that a machine is disconnected, and expire its participants, in one transaction."""
    machines.save(tx, machine, msgspec.structs.replace(machine, daemon_connected=False, last_seen_at=seen_at))
    data = {"machine": machine.id, "name": machine.name, "incarnation": machine.incarnation, "daemon_connected": False}
    tx.record_event(machine_stream(machine.id), "machine.disconnected", cause, data)
    for participant in stored_participants.list_present_on_machine(tx, machine.id):
        participant_transitions.expire_participant(
            context, tx, participant, f"machine {machine.name} disconnected: {cause}", seen_at or tx.now.instant
        )
    tx.on_commit(partial(context.leases.drop_machine, machine.id))


def restore_held_agent(
    context: ServiceContext, tx: Transaction, principal: Principal, machine: Machine, agent: HeldAgent
) -> AgentVerdict:
    """Make an agent that a reconnecting machine holds present again, unless a newer participant has its role."""
    verdict_of = partial(AgentVerdict, room=agent.room, role=agent.role)
    room = stored.get(tx, agent.room)
    role = stored.get_role(tx, room.id, agent.role) if room is not None else None
    if room is None or role is None:
        return verdict_of(status=REJOIN_REQUIRED)
    if not callers.may_participate(principal, room.id, role.name, role.machine if role.is_run_by_daemon else None):
        return verdict_of(status=SUPERSEDED)
    participant = stored_participants.get(tx, room.id, role.name, agent.connection_id)
    verdict = judge_call(participant, role.epoch)
    if participant is None or verdict == SUPERSEDED:
        return verdict_of(status=verdict)
    if participant.status == PRESENT:
        present = participant_transitions.attach_to_machine(context, tx, participant, machine.id)
    else:
        participants.resume_lost(context, tx, participant)
        present = participant_transitions.return_participant(
            context, tx, participant, machine.id, f"machine {machine.name} reconnected"
        )
    held = task_transitions.list_held(tx, present)
    task = TaskRef(held[0].id, held[0].attempt) if held else None
    note_texts = task_notes.list_for_holder(tx, held[0]) if held else ()
    return verdict_of(status=DRAIN if role.is_drained else OK, task=task, notes=note_texts)


def end_missing_participants(context: ServiceContext, tx: Transaction, machine: Machine, held: list[HeldAgent]) -> None:
    """End the machine's participants that a newly started daemon does not hold: their processes no longer run."""
    held_keys = {(agent.room, agent.role, agent.connection_id) for agent in held}
    for participant in stored_participants.list_open_on_machine(tx, machine.id):
        room = stored.get(tx, participant.room)
        role = stored.get_role(tx, participant.room, participant.role)
        if room is None or role is None:
            continue  # Its room or role was deleted; only late results are still accepted for it.
        if not held_keys & {
            (room_key, participant.role, participant.connection_id) for room_key in (room.id, room.name)
        }:
            cause = f"the daemon of machine {machine.name} was restarted without it"
            participant_transitions.close_participant(
                context, tx, participant, "exited", cause, release_as="exited", is_probe=role.hold == CRASH_LOOPING
            )


def grant_machine_lease(context: ServiceContext, machine: Machine) -> None:
    """Grant a machine its lease; `connected_at` is now, unless the same incarnation was connected before."""
    now = context.now()
    before = context.leases.machines.get(machine.id)
    same = before if before is not None and before.connection == machine.incarnation else None
    length_s = context.limits.daemon_heartbeat_ttl_s
    lease = MachineLease(machine.incarnation or "", length_s, now.monotonic + length_s)
    lease.assignments_version, lease.last_heartbeat_at, lease.seen_at = (
        machine.assignments_version,
        now.monotonic,
        now.instant,
    )
    lease.connected_at = same.connected_at if same is not None else now.instant
    context.leases.grant_machine(machine.id, lease)
    alerts.clear_silence(context, machine.id)
