"""Registers, lists, shows and deletes machines, and makes their tokens."""

from functools import partial

import msgspec

from greenroom.domain import principal as callers
from greenroom.domain.errors import Conflict
from greenroom.domain.event import SERVER_STREAM, machine_stream
from greenroom.domain.ids import check_name
from greenroom.domain.machine import Machine
from greenroom.domain.principal import Principal
from greenroom.service import (
    alerts,
    authorization,
    cloned_machines,
    participant_transitions,
    revocation,
    room_view,
    task_transitions,
)
from greenroom.service.context import ServiceContext
from greenroom.store import machines, participants, retention
from greenroom.store import rooms as stored
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import (
    AgentOnMachine,
    MachineView,
    TaskRef,
    TokenReply,
)
from greenroom.wire.requests import PutMachine


def register(
    context: ServiceContext, tx: Transaction, principal: Principal, machine_id: str, request: PutMachine
) -> MachineView:
    """Register a machine, or update its name, harnesses and labels. It connects with its first heartbeat."""
    if not callers.may_act_as_machine(principal, machine_id):
        raise authorization.forbidden_error()
    check_name("machine", machine_id)
    machine = machines.get(tx, machine_id)
    if machine is None:
        machine = Machine(
            id=machine_id,
            name=request.name,
            daemon_connected=False,
            harnesses=tuple(request.harnesses),
            labels=request.labels,
            assignments_version=1,
            created_at=tx.now.instant,
        )
        machines.add(tx, machine)
        retention.cancel_deletion(tx, machine_stream(machine.id))
        data = {"machine": machine.id, "name": machine.name, "harnesses": machine.harnesses}
        tx.record_event(machine_stream(machine.id), "machine.registered", principal.subject, data)
        return build_machine_view(context, tx, machine)
    reported = (request.name, tuple(request.harnesses), request.labels)
    if (machine.name, machine.harnesses, machine.labels) != reported:
        updated = msgspec.structs.replace(machine, name=reported[0], harnesses=reported[1], labels=reported[2])
        machines.save(tx, machine, updated)
        data = {"machine": machine.id, "name": updated.name, "harnesses": updated.harnesses}
        tx.record_event(machine_stream(machine.id), "machine.registered", principal.subject, data)
        machine = updated
    return build_machine_view(context, tx, machine)


def list_all(
    context: ServiceContext, reader: Reader, principal: Principal, after: str | None, limit: int
) -> list[MachineView]:
    """Up to `limit` machines after the id `after`, in the order of their registration. Operators only."""
    authorization.require_operator(principal)
    return [build_machine_view(context, reader, machine) for machine in machines.page(reader, after, limit)]


def get_machine_view(context: ServiceContext, reader: Reader, principal: Principal, machine_id: str) -> MachineView:
    """Show a machine with the status of its agents."""
    return build_machine_view(context, reader, authorization.get_machine(reader, principal, machine_id))


def make_token(context: ServiceContext, principal: Principal, machine_id: str) -> TokenReply:
    """Make the token of a machine, which may not be registered yet. Operators only."""
    authorization.require_operator(principal)
    return TokenReply(context.tokens.make_machine_token(check_name("machine", machine_id)))


def delete(context: ServiceContext, tx: Transaction, principal: Principal, machine_id: str) -> None:
    """Delete a machine. Raises Conflict while an agent is assigned to it. Operators only."""
    authorization.require_operator(principal)
    machine = authorization.get_machine(tx, principal, machine_id)
    assigned = stored.list_roles_on_machine(tx, machine.id)
    if assigned:
        room = stored.get(tx, assigned[0].room)
        raise Conflict(
            f"{assigned[0].name} of {room.name if room else assigned[0].room} is assigned to machine {machine.name}.",
            "Move that agent to another machine, or make it custom (`greenroom agent set ROOM/ROLE`), then delete the "
            "machine.",
        )
    lease = context.leases.machines.get(machine.id)
    seen_at = lease.seen_at if lease is not None and lease.seen_at else tx.now.instant
    for participant in participants.list_present_on_machine(tx, machine.id):
        participant_transitions.expire_participant(
            context, tx, participant, f"machine {machine.name} was deleted", seen_at
        )
    cloned_machines.resolve_clone_alert(context, tx, machine.id, f"machine {machine.name} was deleted")
    machines.remove(tx, machine.id)
    revocation.revoke_tokens(context, tx, Principal(scope=callers.MACHINE, machine=machine.id))
    retention.schedule_deletion(tx, machine_stream(machine.id))
    tx.record_event(SERVER_STREAM, "machine.deleted", principal.subject, {"machine": machine.id, "name": machine.name})
    tx.on_commit(partial(context.leases.drop_machine, machine.id))
    tx.on_commit(partial(alerts.clear_silence, context, machine.id))


def build_machine_view(context: ServiceContext, reader: Reader, machine: Machine) -> MachineView:
    """Show a machine: its harnesses and labels, and the agents that are assigned to it."""
    lease = context.leases.machines.get(machine.id)
    return MachineView(
        id=machine.id,
        name=machine.name,
        daemon_connected=machine.daemon_connected,
        last_seen_at=lease.seen_at if lease is not None and lease.seen_at else machine.last_seen_at,
        harnesses=machine.harnesses,
        labels=machine.labels,
        agents=tuple(list_agents(context, reader, machine)),
    )


def list_agents(context: ServiceContext, reader: Reader, machine: Machine) -> list[AgentOnMachine]:
    """The agents that are assigned to a machine, each with its status and task."""
    agents = []
    for role in stored.list_roles_on_machine(reader, machine.id):
        room = stored.get(reader, role.room)
        present = participants.get_present(reader, role.room, role.name)
        held = task_transitions.list_held(reader, present) if present is not None else []
        effective = room_view.effective_spec(room, role) if room is not None else role
        status = room_view.build_role_status(context, effective, present, machine, bool(held))
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
