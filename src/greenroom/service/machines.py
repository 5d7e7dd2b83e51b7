"""Registers, lists, shows and deletes machines, and makes their tokens."""

from functools import partial

import msgspec

from greenroom.domain import caller as callers
from greenroom.domain.caller import Caller
from greenroom.domain.errors import Conflict
from greenroom.domain.event import SERVER_STREAM, machine_stream
from greenroom.domain.ids import check_name
from greenroom.domain.machine import Machine
from greenroom.service import access, attention, cloning, seating, views, working
from greenroom.service.world import World
from greenroom.store import machines, retention, sittings
from greenroom.store import rooms as stored
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import (
    AgentOnMachine,
    MachineView,
    TaskRef,
    TokenReply,
)
from greenroom.wire.requests import PutMachine


def register(world: World, tx: Transaction, caller: Caller, machine_id: str, request: PutMachine) -> MachineView:
    """Register a machine, or update its name, harnesses and labels. It connects with its first heartbeat."""
    if not callers.may_run(caller, machine_id):
        raise access.refused()
    check_name("machine", machine_id)
    machine = machines.get(tx, machine_id)
    if machine is None:
        machine = Machine(
            id=machine_id,
            name=request.name,
            daemon_connected=False,
            harnesses=tuple(request.harnesses),
            labels=request.labels,
            wishes_version=1,
            created_at=tx.now.instant,
        )
        machines.add(tx, machine)
        retention.spare(tx, machine_stream(machine.id))
        data = {"machine": machine.id, "name": machine.name, "harnesses": machine.harnesses}
        tx.record(machine_stream(machine.id), "machine.registered", caller.subject, data)
        return view(world, tx, machine)
    reported = (request.name, tuple(request.harnesses), request.labels)
    if (machine.name, machine.harnesses, machine.labels) != reported:
        updated = msgspec.structs.replace(machine, name=reported[0], harnesses=reported[1], labels=reported[2])
        machines.save(tx, machine, updated)
        data = {"machine": machine.id, "name": updated.name, "harnesses": updated.harnesses}
        tx.record(machine_stream(machine.id), "machine.registered", caller.subject, data)
        machine = updated
    return view(world, tx, machine)


def list_all(world: World, reader: Reader, caller: Caller, after: str | None, limit: int) -> list[MachineView]:
    """Up to `limit` machines after the id `after`, in the order of their registration. Operators only."""
    access.operator_only(caller)
    return [view(world, reader, machine) for machine in machines.page(reader, after, limit)]


def show(world: World, reader: Reader, caller: Caller, machine_id: str) -> MachineView:
    """Show a machine with the status of its agents."""
    return view(world, reader, access.machine(reader, caller, machine_id))


def token(world: World, caller: Caller, machine_id: str) -> TokenReply:
    """Make the token of a machine, which may not be registered yet. Operators only."""
    access.operator_only(caller)
    return TokenReply(world.keys.machine_token(check_name("machine", machine_id)))


def delete(world: World, tx: Transaction, caller: Caller, machine_id: str) -> None:
    """Delete a machine. Raises Conflict while an agent is assigned to it. Operators only."""
    access.operator_only(caller)
    machine = access.machine(tx, caller, machine_id)
    assigned = stored.roles_on(tx, machine.id)
    if assigned:
        room = stored.get(tx, assigned[0].room)
        raise Conflict(
            f"{assigned[0].name} of {room.name if room else assigned[0].room} is assigned to machine {machine.name}.",
            "Move that agent to another machine, or make it custom (`greenroom agent set ROOM/ROLE`), then delete the "
            "machine.",
        )
    lease = world.leases.machines.get(machine.id)
    seen_at = lease.seen_at if lease is not None and lease.seen_at else tx.now.instant
    for sitting in sittings.present_on(tx, machine.id):
        seating.lapse(world, tx, sitting, f"machine {machine.name} was deleted", seen_at)
    cloning.settle(world, tx, machine.id, f"machine {machine.name} was deleted")
    machines.remove(tx, machine.id)
    retention.add_deletion(tx, machine_stream(machine.id))
    tx.record(SERVER_STREAM, "machine.deleted", caller.subject, {"machine": machine.id, "name": machine.name})
    tx.after_commit(partial(world.leases.drop_machine, machine.id))
    tx.after_commit(partial(attention.is_back, world, machine.id))


def view(world: World, reader: Reader, machine: Machine) -> MachineView:
    """Show a machine: its harnesses and labels, and the agents that are assigned to it."""
    lease = world.leases.machines.get(machine.id)
    return MachineView(
        id=machine.id,
        name=machine.name,
        daemon_connected=machine.daemon_connected,
        last_seen_at=lease.seen_at if lease is not None and lease.seen_at else machine.last_seen_at,
        harnesses=machine.harnesses,
        labels=machine.labels,
        agents=tuple(agents_on(world, reader, machine)),
    )


def agents_on(world: World, reader: Reader, machine: Machine) -> list[AgentOnMachine]:
    """The agents that are assigned to a machine, each with its status and task."""
    agents = []
    for role in stored.roles_on(reader, machine.id):
        room = stored.get(reader, role.room)
        present = sittings.present(reader, role.room, role.name)
        held = working.held_by(reader, present) if present is not None else []
        effective = views.as_wished_in(room, role) if room is not None else role
        status = views.judge(world, effective, present, machine, bool(held))
        agents.append(
            AgentOnMachine(
                room=room.name if room is not None else role.room,
                role=role.name,
                status=status.status,
                connection_id=present.connection_id if present is not None else None,
                task=TaskRef(held[0].id, held[0].attempt) if held else None,
            )
        )
    return agents
