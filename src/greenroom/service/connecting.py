"""Machine heartbeats: connects, renews, reconnects and disconnects a machine together with the agents it holds.

The heartbeat of a connected machine is answered from memory. A heartbeat that changes something (the machine was
disconnected, the incarnation is new, an agent must become present again, the daemon leaves) goes through the store and
is answered after the commit.
"""

from collections.abc import Callable
from functools import partial

import msgspec

from greenroom.domain import caller as callers
from greenroom.domain.caller import Caller
from greenroom.domain.event import machine_stream
from greenroom.domain.machine import Machine, judge_incarnation
from greenroom.domain.role import PARKED
from greenroom.domain.sitting import DRAIN, OK, PRESENT, REJOIN_REQUIRED, SUPERSEDED, judge
from greenroom.service import access, attention, cloning, guarding, notes, presence, seating, working
from greenroom.service.leases import MachineLease
from greenroom.service.world import World
from greenroom.store import machines, sittings
from greenroom.store import rooms as stored
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import AgentVerdict, MachineHeartbeatReply, TaskRef
from greenroom.wire.requests import HeldAgent, MachineHeartbeat


def beat(world: World, caller: Caller, machine_id: str, request: MachineHeartbeat) -> MachineHeartbeatReply | None:
    """Renew a machine's lease and answer a verdict for each of its agents, from memory.

    None when the heartbeat needs the store: then call `reconnect`. Raises Refused.
    """
    if not callers.may_run(caller, machine_id):
        raise access.refused()
    now = world.now()
    lease = world.leases.machines.get(machine_id)
    if lease is None or request.leaving:
        return None
    find = world.directory.find
    rooms = [find(agent.room) for agent in request.agents]
    agent_keys = [
        (f"{room.id if room is not None else ''}/{agent.role}", agent.connection_id)
        for agent, room in zip(request.agents, rooms, strict=True)
    ]
    leases = world.leases.beat_machine(machine_id, request.incarnation, agent_keys, now.monotonic, now.instant)
    if leases is None:
        return None
    guarding.heard(world, machine_id, request.agents)
    verdicts = []
    for agent, room, (key, connection), agent_lease in zip(request.agents, rooms, agent_keys, leases, strict=True):
        if agent_lease is None or room is None:
            verdicts.append(AgentVerdict(agent.room, agent.role, world.leases.verdict(key, connection)))
        else:
            status = DRAIN if agent.role in room.drained else OK
            verdicts.append(AgentVerdict(agent.room, agent.role, status, *(agent_lease.in_hand or (None, ()))))
    return MachineHeartbeatReply(
        status=OK,
        daemon_connected=True,
        next_in_s=world.next_machine_beat_in_s(),
        wishes_version=lease.wishes_version,
        agents=tuple(verdicts),
        crowded=world.is_crowded,
    )


def reconnect(
    world: World,
    tx: Transaction,
    caller: Caller,
    machine_id: str,
    request: MachineHeartbeat,
    is_gone: Callable[[], bool] = lambda: False,
) -> MachineHeartbeatReply:
    """Process a heartbeat that changes something: connects the machine and its agents in one transaction.

    `is_gone` returns whether the sender has closed its connection by now. A heartbeat of an older incarnation is
    answered `superseded` and changes nothing else.
    """
    machine = access.machine(tx, caller, machine_id)
    epoch = machines.incarnation_epoch(tx, machine.id, request.incarnation)
    verdict = judge_incarnation(epoch, machine.incarnation_epoch)
    if verdict == SUPERSEDED:
        if not request.leaving and not is_gone():
            cloning.heard(world, tx, machine, request.incarnation)
        return MachineHeartbeatReply(
            status=SUPERSEDED,
            daemon_connected=machine.daemon_connected,
            next_in_s=world.next_machine_beat_in_s(),
            wishes_version=machine.wishes_version,
        )
    if request.leaving:
        return depart(world, tx, machine)
    changed = msgspec.structs.replace(machine, last_seen_at=tx.now.instant)
    if verdict == "new":
        changed = msgspec.structs.replace(
            changed, incarnation=request.incarnation, incarnation_epoch=machine.incarnation_epoch + 1
        )
        machines.add_incarnation(tx, machine.id, request.incarnation, changed.incarnation_epoch)
        take_inventory(world, tx, machine, request.agents)
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
        tx.record(machine_stream(machine.id), "machine.reconnected", cause, data)
    tx.after_commit(partial(connect, world, changed))
    tx.after_commit(partial(guarding.heard, world, machine.id, request.agents))
    return MachineHeartbeatReply(
        status=OK,
        daemon_connected=True,
        next_in_s=world.next_machine_beat_in_s(),
        wishes_version=machine.wishes_version,
        agents=tuple(seat_held(world, tx, caller, machine, agent) for agent in request.agents),
        crowded=world.is_crowded,
    )


def depart(world: World, tx: Transaction, machine: Machine) -> MachineHeartbeatReply:
    """Disconnect a machine at once, on the last heartbeat of a daemon that was stopped on purpose."""
    if machine.daemon_connected:
        disconnect(world, tx, machine, "its daemon was stopped", tx.now.instant)
    tx.after_commit(partial(guarding.heard, world, machine.id, []))
    return MachineHeartbeatReply(
        status=OK,
        daemon_connected=False,
        next_in_s=world.next_machine_beat_in_s(),
        wishes_version=machine.wishes_version,
    )


def disconnect(world: World, tx: Transaction, machine: Machine, cause: str, seen_at: str | None) -> None:
    """Record that a machine is disconnected, and expire its participants, in one transaction."""
    machines.save(tx, machine, msgspec.structs.replace(machine, daemon_connected=False, last_seen_at=seen_at))
    data = {"machine": machine.id, "name": machine.name, "incarnation": machine.incarnation, "daemon_connected": False}
    tx.record(machine_stream(machine.id), "machine.disconnected", cause, data)
    for sitting in sittings.present_on(tx, machine.id):
        seating.lapse(world, tx, sitting, f"machine {machine.name} disconnected: {cause}", seen_at or tx.now.instant)
    tx.after_commit(partial(world.leases.drop_machine, machine.id))


def seat_held(world: World, tx: Transaction, caller: Caller, machine: Machine, agent: HeldAgent) -> AgentVerdict:
    """Make an agent that a reconnecting machine holds present again, unless a newer participant has its role."""
    verdict_of = partial(AgentVerdict, room=agent.room, role=agent.role)
    room = stored.get(tx, agent.room)
    role = stored.role(tx, room.id, agent.role) if room is not None else None
    if room is None or role is None:
        return verdict_of(status=REJOIN_REQUIRED)
    if not callers.may_sit(caller, room.id, role.name, role.machine if role.is_run_by_daemon else None):
        return verdict_of(status=SUPERSEDED)
    participant = sittings.get(tx, room.id, role.name, agent.connection_id)
    verdict = judge(participant, role.epoch)
    if participant is None or verdict == SUPERSEDED:
        return verdict_of(status=verdict)
    if participant.status == PRESENT:
        present = seating.attach(world, tx, participant, machine.id)
    else:
        presence.resume_lost(world, tx, participant)
        present = seating.sit_again(world, tx, participant, machine.id, f"machine {machine.name} reconnected")
    held = working.held_by(tx, present)
    task = TaskRef(held[0].id, held[0].attempt) if held else None
    note_texts = notes.for_holder(tx, held[0]) if held else ()
    return verdict_of(status=DRAIN if role.is_drained else OK, task=task, notes=note_texts)


def take_inventory(world: World, tx: Transaction, machine: Machine, held: list[HeldAgent]) -> None:
    """End the machine's participants that a newly started daemon does not hold: their processes no longer run."""
    held_keys = {(agent.room, agent.role, agent.connection_id) for agent in held}
    for sitting in sittings.open_on(tx, machine.id):
        room = stored.get(tx, sitting.room)
        role = stored.role(tx, sitting.room, sitting.role)
        if room is None or role is None:
            continue  # Its room or role was deleted; only late results are still accepted for it.
        if not held_keys & {(room_key, sitting.role, sitting.connection_id) for room_key in (room.id, room.name)}:
            cause = f"the daemon of machine {machine.name} was restarted without it"
            seating.end(world, tx, sitting, "exited", cause, release_as="exited", on_trial=role.rests_as == PARKED)


def connect(world: World, machine: Machine) -> None:
    """Grant a machine its lease; `since` is now, unless the same incarnation was connected before."""
    now = world.now()
    before = world.leases.machines.get(machine.id)
    same = before if before is not None and before.connection == machine.incarnation else None
    length_s = world.limits.daemon_heartbeat_ttl_s
    lease = MachineLease(machine.incarnation or "", length_s, now.monotonic + length_s)
    lease.wishes_version, lease.beaten_at, lease.seen_at = machine.wishes_version, now.monotonic, now.instant
    lease.since = same.since if same is not None else now.instant
    world.leases.grant_machine(machine.id, lease)
    attention.is_back(world, machine.id)
