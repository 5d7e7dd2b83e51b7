"""Telling people of a role that has work and nobody who does it, and that this is over. It starts nothing.

What is told was noticed in memory, and is looked at once more in the store. Must not know leases.
"""

from greenroom.service import attention
from greenroom.service.leases import seat_key
from greenroom.service.world import World
from greenroom.store import attentions, rooms, sittings, tasks
from greenroom.store.transaction import Reader, Transaction

PREFIX = "unattended:"


def tell(world: World, tx: Transaction, key: str) -> None:
    """Raise an attention for a role, if it is so."""
    room_id, _, role = key.partition("/")
    room = rooms.get(tx, room_id)
    waiting = tasks.oldest_pending(tx, room_id, role)
    if room is None or waiting is None or is_attended(tx, room_id, role):
        settle_after(world, tx, key)
        return
    text = (
        f"{waiting.id} has been waiting for {role} in room {room.name} for more than "
        f"{world.limits.task_pending_timeout_s:g} s, and nobody sits there."
    )
    attention.raise_it(tx, PREFIX + key, text, room_id)
    now = tx.now.monotonic
    tx.after_commit(lambda: world.attendance.was_told(key, world.leases.seats, now))


def take_back(world: World, tx: Transaction, key: str) -> None:
    """Resolve the attention for a role, if somebody sits there or nothing is pending there any more."""
    room, _, role = key.partition("/")
    attended = is_attended(tx, room, role)
    if attended or tasks.oldest_pending(tx, room, role) is None:
        attention.resolve(tx, PREFIX + key, "somebody sits there" if attended else "nothing waits for it any more")
        settle_after(world, tx, key)


def is_attended(reader: Reader, room: str, role: str) -> bool:
    """Tell whether somebody is present in a role."""
    return sittings.present(reader, room, role) is not None


def settle_after(world: World, tx: Transaction, key: str) -> None:
    """Once this is durable: nothing is told of that role."""
    now = tx.now.monotonic
    tx.after_commit(lambda: world.attendance.was_resolved(key, world.leases.seats, now))


def remember(world: World, reader: Reader) -> None:
    """Take up again, after a restart, what waits where and what was told. The time it may wait is counted anew."""
    pending = [(seat_key(task.room, task.target_role), task.id) for task in tasks.all_pending(reader)]
    told = [raised.key.removeprefix(PREFIX) for raised in attentions.every(reader) if raised.key.startswith(PREFIX)]
    world.attendance.remember(pending, told, world.leases.seats, world.clock.monotonic())
