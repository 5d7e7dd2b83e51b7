"""Holding back what was taken over, and letting it be claimed as soon as its former holder is known to have stopped.

Must not know who says so, or how.
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
    """Hold a task back that is being taken over, from this moment on: a claim may wait in the same batch."""
    guard = takeover.guard(task.id, older, tx.now.monotonic, world.limits)
    world.guards.put(guard)
    tx.if_abandoned(partial(world.guards.drop, guard))


def hold_back_again(world: World, reader: Reader) -> None:
    """After a restart nobody knows who has stopped: hold back anew what was taken over and not claimed since."""
    now = world.clock.monotonic()
    for task in tasks.all_pending(reader):
        if task.released_cause == SUPERSEDED and task.last_holder is not None:
            older = sittings.get(reader, task.room, task.target_role, task.last_holder)
            if older is not None:
                world.guards.put(takeover.guard(task.id, older, now, world.limits))


def has_stopped(world: World, tx: Transaction, room: str, role: str, connection: str, task: str | None = None) -> None:
    """Once this is durable: what was taken over from a connection may be claimed, since it has stopped.

    `task` is the one of its tasks that was the work of what stopped; None when all of its work has.
    """
    tx.after_commit(lambda: wake(world, world.guards.lift_for(room, role, connection, task)))


def heard(world: World, machine: str, held: Iterable[HeldAgent]) -> None:
    """Take from a machine's beat, which names the agents that it holds, which it runs no more."""
    if world.guards:
        places = ((world.directory.find(agent.room), agent) for agent in held)
        named = {(place.id, agent.role, agent.connection_id) for place, agent in places if place is not None}
        wake(world, world.guards.lift_dropped(machine, named))


def lift_due(world: World, now: float) -> None:
    """Let be claimed what was held back for long enough."""
    wake(world, world.guards.lift_due(now))


def wake(world: World, lifted: Iterable[Guard]) -> None:
    """Let whoever waits in those roles look again."""
    for guard in lifted:
        world.signals.wake(claim_key(guard.room, guard.role))


def told(world: World, room: str, role: str) -> tuple[str | None, str | None]:
    """What a role waits for, in a person's words, and until when at most; (None, None) if it is for no guard."""
    guard = world.guards.over(room, role)
    if guard is None:
        return None, None
    until = instant_of(world.clock.wall() + guard.until - world.clock.monotonic())
    return f"its task was taken over from {guard.connection}, whose run is being stopped", until
