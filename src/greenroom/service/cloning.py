"""Two daemons that speak for one machine: noticed by the beats of the older one, told once. Must not know HTTP.

The newest incarnation has the machine. An older one that still beats, on a connection that is open, is no late word of
a daemon that ended, but a second one that lives: mostly a copied disk. People are told until that was not heard for
long enough, and of a restart of the server no more than that the time begins anew.
"""

from functools import partial

from greenroom.domain.event import machine_stream
from greenroom.domain.machine import Machine
from greenroom.service import attention
from greenroom.service.world import World
from greenroom.store import attentions
from greenroom.store.transaction import Reader, Transaction

PREFIX = "cloned:"


def heard(world: World, tx: Transaction, machine: Machine, older: str) -> None:
    """Take down that an older incarnation of a machine beats although a newer one was heard."""
    key, known = PREFIX + machine.id, world.healer.clones
    if attentions.get(tx, key) is None:
        text = (
            f"Two daemons speak for machine {machine.name} ({machine.id}); the newest has it, and the other is told to "
            "stop. If a disk or a data directory was copied, remove the file `machine.json` from the data directory of "
            "the copy, and start its daemon again: it is a machine of its own then."
        )
        data = {"machine": machine.id, "name": machine.name, "incarnation": machine.incarnation, "older": older}
        tx.record(machine_stream(machine.id), "machine.cloned", f"incarnation {older} still beats", data)
        attention.raise_it(tx, key, text, subjects=(machine.id,))
    tx.after_commit(partial(known.__setitem__, machine.id, tx.now.monotonic))


def settle(world: World, tx: Transaction, machine: str, cause: str) -> None:
    """Have people told no more of a machine."""
    attention.resolve(tx, PREFIX + machine, cause)
    tx.after_commit(partial(forget, world, machine))


def forget(world: World, machine: str) -> None:
    """Wait no longer for its older daemon to be silent."""
    world.healer.clones.pop(machine, None)


def watch(world: World, now: float) -> None:
    """Take back what was told of machines whose older daemon has been silent for long enough."""
    clones = world.healer.clones
    for machine, heard_at in list(clones.items()):
        if now - heard_at >= world.limits.clone_told_s:
            clones[machine] = now  # If this cannot be written, it is tried again after as long.
            cause = f"no older daemon of it was heard for {world.limits.clone_told_s:g} s"
            world.store.write(partial(settle, world, machine=machine, cause=cause))


def begin_anew(world: World, now: float) -> None:
    """Count the silence anew after an absence of the server: nobody could be heard."""
    world.healer.clones = dict.fromkeys(world.healer.clones, now)


def remember(world: World, reader: Reader) -> None:
    """Take up again, after a restart, of which machines people were told; how long they are is counted anew."""
    now = world.clock.monotonic()
    for raised in attentions.every(reader):
        if raised.key.startswith(PREFIX):
            world.healer.clones[raised.key.removeprefix(PREFIX)] = now
