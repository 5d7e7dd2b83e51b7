"""The assignments of a machine: the agent specs that its daemon reconciles towards.

Their version rises with every change; then the daemon reads them again.
"""

from collections.abc import Iterable

import msgspec

from greenroom.domain.caller import Caller
from greenroom.domain.role import STOPPED, Role
from greenroom.domain.room import OPEN
from greenroom.service import access
from greenroom.service.signals import wishes_key
from greenroom.service.world import World
from greenroom.store import machines
from greenroom.store import rooms as stored
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import Wish, Wishes


def wishes(world: World, reader: Reader, caller: Caller, machine_id: str) -> Wishes:
    """The assignments of a machine with their version. In a closed room `desired` is `stopped`."""
    machine = access.machine(reader, caller, machine_id)
    assignments = []
    for role in stored.roles_on(reader, machine.id):
        room = stored.get(reader, role.room)
        assert room is not None
        if role.is_run_by_daemon:
            assignment = Wish(
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
            )
            assignments.append(assignment)
    return Wishes(version=machine.wishes_version, wishes=tuple(assignments))


def touch(world: World, tx: Transaction, machine_id: str) -> None:
    """Raise the version of a machine's assignments, so that its daemon reads them again."""
    machine = machines.get(tx, machine_id)
    if machine is None:
        return
    version = machine.wishes_version + 1
    machines.save(tx, machine, msgspec.structs.replace(machine, wishes_version=version))

    def notify() -> None:
        lease = world.leases.machines.get(machine_id)
        if lease is not None:
            lease.wishes_version = version
        world.signals.wake(wishes_key(machine_id))

    tx.after_commit(notify)


def touch_all(world: World, tx: Transaction, roles: Iterable[Role]) -> None:
    """Raise the version for every machine that one of these roles is assigned to."""
    for machine in sorted({role.machine for role in roles if role.machine is not None}):
        touch(world, tx, machine)
