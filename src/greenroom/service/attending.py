"""Raises and resolves the alert for a role that has a pending task and no participant. It starts no agent.

`attendance` finds such roles in memory; each is checked in the store before its alert is raised or resolved.
Option: `task_pending_timeout_s`, which begins again after a restart of the server.
"""

from greenroom.service import attention
from greenroom.service.leases import seat_key
from greenroom.service.world import World
from greenroom.store import attentions, rooms, sittings, tasks
from greenroom.store.transaction import Reader, Transaction

PREFIX = "unattended:"


def tell(world: World, tx: Transaction, key: str) -> None:
    """Raise the alert for a role, if a task still waits there and no participant is present."""
    room_id, _, role = key.partition("/")
    room = rooms.get(tx, room_id)
    task = tasks.oldest_pending(tx, room_id, role)
    if room is None or task is None or is_attended(tx, room_id, role):
        settle_after(world, tx, key)
        return
    text = (
        f"Task {task.id} for {role} in room {room.name} has been pending for more than "
        f"{world.limits.task_pending_timeout_s:g} s, and no agent is present in the role."
    )
    attention.raise_it(tx, PREFIX + key, text, room_id)
    now = tx.now.monotonic
    tx.after_commit(lambda: world.attendance.was_told(key, world.leases.seats, now))


def take_back(world: World, tx: Transaction, key: str) -> None:
    """Resolve the alert for a role, if a participant is present there or no task is pending any more."""
    room, _, role = key.partition("/")
    attended = is_attended(tx, room, role)
    if attended or tasks.oldest_pending(tx, room, role) is None:
        attention.resolve(tx, PREFIX + key, "an agent is present" if attended else "no task is pending any more")
        settle_after(world, tx, key)


def is_attended(reader: Reader, room: str, role: str) -> bool:
    """Whether a participant is present in the role."""
    return sittings.present(reader, room, role) is not None


def settle_after(world: World, tx: Transaction, key: str) -> None:
    """After the commit, record in memory that no alert is raised for the role."""
    now = tx.now.monotonic
    tx.after_commit(lambda: world.attendance.was_resolved(key, world.leases.seats, now))


def remember(world: World, reader: Reader) -> None:
    """Restore the pending tasks and the raised alerts after a restart. Each wait begins again."""
    pending = [(seat_key(task.room, task.target_role), task.id) for task in tasks.all_pending(reader)]
    alerted = [alert.key.removeprefix(PREFIX) for alert in attentions.every(reader) if alert.key.startswith(PREFIX)]
    world.attendance.remember(pending, alerted, world.leases.seats, world.clock.monotonic())
