"""Takeover holds: keeps a task that was taken over from being claimed until its former holder has stopped.

A hold ends when that participant leaves, when its exit is reported, when its machine's heartbeat no longer names it, or
after `takeover_grace_s` seconds. A former holder that runs on after that time works beside the new one; its writes are
refused.
"""

from collections.abc import Iterable
from functools import partial

from greenroom.clock import instant_of
from greenroom.domain import takeover
from greenroom.domain.sitting import Sitting
from greenroom.domain.takeover import Guard
from greenroom.domain.task import SUPERSEDED, Task
from greenroom.service.signals import claim_key
from greenroom.service.world import World
from greenroom.store import sittings, tasks
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.requests import HeldAgent


def hold_back(world: World, tx: Transaction, task: Task, older: Sitting) -> None:
    """Hold a task that is being taken over, before the commit: a claim may follow in the same batch."""
    hold = takeover.guard(task.id, older, tx.now.monotonic, world.limits)
    world.guards.put(hold)
    tx.if_abandoned(partial(world.guards.drop, hold))


def hold_back_again(world: World, reader: Reader) -> None:
    """Restore the holds after a restart: every task that was taken over and not claimed since is held again."""
    now = world.clock.monotonic()
    for task in tasks.all_pending(reader):
        if task.released_cause == SUPERSEDED and task.last_holder is not None:
            older = sittings.get(reader, task.room, task.target_role, task.last_holder)
            if older is not None:
                world.guards.put(takeover.guard(task.id, older, now, world.limits))


def has_stopped(world: World, tx: Transaction, room: str, role: str, connection: str, task: str | None = None) -> None:
    """After the commit, release the holds for a connection that has stopped.

    `task` limits this to one task, whose run has stopped; None when the connection has stopped as a whole.
    """
    tx.after_commit(lambda: wake(world, world.guards.lift_for(room, role, connection, task)))


def heard(world: World, machine: str, held: Iterable[HeldAgent]) -> None:
    """Release the holds for agents that a heartbeat of their machine no longer names."""
    if world.guards:
        rooms = ((world.directory.find(agent.room), agent) for agent in held)
        named = {(room.id, agent.role, agent.connection_id) for room, agent in rooms if room is not None}
        wake(world, world.guards.lift_dropped(machine, named))


def lift_due(world: World, now: float) -> None:
    """Release the holds whose time is over."""
    wake(world, world.guards.lift_due(now))


def wake(world: World, released: Iterable[Guard]) -> None:
    """Wake the standing claims of the roles whose tasks were released."""
    for hold in released:
        world.signals.wake(claim_key(hold.room, hold.role))


def told(world: World, room: str, role: str) -> tuple[str | None, str | None]:
    """Why a role's claim waits, as a text for users, and until when at most; (None, None) if no hold is the reason."""
    hold = world.guards.over(room, role)
    if hold is None:
        return None, None
    until = instant_of(world.clock.wall() + hold.until - world.clock.monotonic())
    return f"its task was taken over from {hold.connection}, whose run is being stopped", until
