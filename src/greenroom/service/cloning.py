"""Detects two daemons that run for one machine, and raises an alert for it.

The newest incarnation owns the machine. A heartbeat of an older incarnation on a connection that is still open is not a
delayed one of a daemon that has ended: a second daemon is running, mostly because a disk was copied. The alert stays
until no older incarnation was heard for `clone_told_s` seconds; a restart of the server begins that time again.
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
    """Record that an older incarnation of a machine sent a heartbeat although a newer one exists."""
    key, clones = PREFIX + machine.id, world.healer.clones
    if attentions.get(tx, key) is None:
        text = (
            f"Two daemons run for machine {machine.name} ({machine.id}); the newest keeps it, and the other is asked "
            "to stop. If a disk or a data directory was copied, remove the file `machine.json` from the data directory "
            "of the copy and start its daemon again: it then registers as a machine of its own."
        )
        data = {"machine": machine.id, "name": machine.name, "incarnation": machine.incarnation, "older": older}
        tx.record(machine_stream(machine.id), "machine.cloned", f"incarnation {older} still sends heartbeats", data)
        attention.raise_it(tx, key, text, subjects=(machine.id,))
    tx.after_commit(partial(clones.__setitem__, machine.id, tx.now.monotonic))


def settle(world: World, tx: Transaction, machine: str, cause: str) -> None:
    """Resolve the alert for a machine."""
    attention.resolve(tx, PREFIX + machine, cause)
    tx.after_commit(partial(forget, world, machine))


def forget(world: World, machine: str) -> None:
    """Stop watching for older daemons of a machine."""
    world.healer.clones.pop(machine, None)


def watch(world: World, now: float) -> None:
    """Resolve the alerts of machines whose older daemon has been silent for `clone_told_s` seconds."""
    clones = world.healer.clones
    for machine, heard_at in list(clones.items()):
        if now - heard_at >= world.limits.clone_told_s:
            clones[machine] = now  # If the write fails, it is retried after the same time.
            cause = f"no heartbeat of an older daemon for {world.limits.clone_told_s:g} s"
            world.store.write(partial(settle, world, machine=machine, cause=cause))


def begin_anew(world: World, now: float) -> None:
    """Restart the wait at `now` after an absence of the server, which could receive no heartbeat."""
    world.healer.clones = dict.fromkeys(world.healer.clones, now)


def remember(world: World, reader: Reader) -> None:
    """Restore the raised alerts after a restart of the server; each wait begins again."""
    now = world.clock.monotonic()
    for alert in attentions.every(reader):
        if alert.key.startswith(PREFIX):
            world.healer.clones[alert.key.removeprefix(PREFIX)] = now
