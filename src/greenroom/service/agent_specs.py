"""The assignments of a machine: the agent specs that its daemon reconciles towards.

Their version rises with every change; then the daemon reads them again.
"""

from collections.abc import Iterable

import msgspec

from greenroom.domain.principal import Principal
from greenroom.domain.role import STOPPED, Role
from greenroom.domain.room import OPEN
from greenroom.service import authorization
from greenroom.service.context import ServiceContext
from greenroom.service.state.notifications import assignments_key
from greenroom.store import machines
from greenroom.store import rooms as stored
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import Assignment, Assignments


def list_assignments(context: ServiceContext, reader: Reader, principal: Principal, machine_id: str) -> Assignments:
    """The assignments of a machine with their version. In a closed room `desired` is `stopped`."""
    machine = authorization.get_machine(reader, principal, machine_id)
    assignments = []
    for role in stored.list_roles_on_machine(reader, machine.id):
        room = stored.get(reader, role.room)
        assert room is not None
        if role.is_run_by_daemon:
            assignment = Assignment(
                room=room.id,
                room_name=room.name,
                role=role.name,
                roles=room.roles,
                desired=role.desired if room.status == OPEN else STOPPED,
                generation=role.generation,
                harness=role.harness,
                model=role.model,
                workdir=role.workdir,
                task_timeout_s=role.task_timeout_s,
                run_generation=role.run_generation,
                empty=role.empty,
            )
            assignments.append(assignment)
    return Assignments(version=machine.assignments_version, assignments=tuple(assignments))


def raise_assignments_version(context: ServiceContext, tx: Transaction, machine_id: str) -> None:
    """Raise the version of a machine's assignments, so that its daemon reads them again."""
    machine = machines.get(tx, machine_id)
    if machine is None:
        return
    version = machine.assignments_version + 1
    machines.save(tx, machine, msgspec.structs.replace(machine, assignments_version=version))

    def notify() -> None:
        context.leases.set_assignments_version(machine_id, version)
        context.notifications.notify(assignments_key(machine_id))

    tx.on_commit(notify)


def raise_assignments_versions(context: ServiceContext, tx: Transaction, roles: Iterable[Role]) -> None:
    """Raise the version for every machine that one of these roles is assigned to."""
    for machine in sorted({role.machine for role in roles if role.machine is not None}):
        raise_assignments_version(context, tx, machine)
