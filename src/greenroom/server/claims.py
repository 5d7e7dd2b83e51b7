"""Long polls: an agent's claim waits for a task, a daemon's poll waits for new assignments.

A poll reads the state, waits for a signal, and reads again. It subscribes to the signal before the first read, so that
no change in between is missed. It ends at the latest when the server stops or the client disconnects.

Settings: `claim_wait_max_s`, `wishes_wait_max_s`. Metric: `greenroom_waits`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from greenroom.server.ask import Ask
from greenroom.server.departure import watched
from greenroom.server.doors import Doors
from greenroom.server.notice import wait_any
from greenroom.service import signals, tasks, wishing
from greenroom.service.world import World
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import ClaimedTask, Wishes
from greenroom.wire.requests import Claim


async def claim(doors: Doors, ask: Ask[Claim]) -> ClaimedTask | None:
    """Claim the role's next task, waiting up to the body's `wait_s` seconds for one; None when there was none in time.

    A client that has disconnected gets no task. A participant that loses its role while it waits gets the error of
    `tasks.claim` at once.
    """
    limits, body = doors.world.limits, ask.body
    place = doors.world.directory.find(ask.room)
    key = signals.claim_key(place.id if place is not None else "", body.role)
    wait_s = min(body.wait_s, limits.claim_wait_for(limits.heartbeat_interval_s))
    with watched(ask.sent) as gone:

        def take(world: World, transaction: Transaction) -> ClaimedTask | None:
            return None if gone.is_set() else tasks.claim(world, transaction, ask.caller, ask.room, body)

        if wait_s == 0:
            return await doors.write(take)
        with doors.watching(key) as woken, doors.timer(wait_s) as over, waiting(doors):
            while True:
                woken.clear()
                task = await doors.write(take)
                if task is not None:
                    return task
                await wait_any(woken, over, gone, doors.closing)
                if over.is_set() or gone.is_set() or doors.closing.is_set():
                    # No further claim: it would count as a heartbeat, and the end of a wait is no sign of life.
                    return None


async def wishes(doors: Doors, ask: Ask[None]) -> Wishes:
    """Return a machine's assignments, waiting up to the query's `wait_s` seconds for another version than `after`."""
    limits, known = doors.world.limits, ask.query.after
    wait_s = 0.0 if known is None else min(ask.query.wait_s, limits.wishes_wait_max_s)
    watching, timer = doors.watching(signals.wishes_key(ask.machine)), doors.timer(wait_s)
    with watching as woken, timer as over, waiting(doors), watched(ask.sent) as gone:
        while True:
            woken.clear()
            found = await doors.read(lambda world, reader: wishing.wishes(world, reader, ask.caller, ask.machine))
            if found.version != known or over.is_set() or gone.is_set() or doors.closing.is_set():
                return found
            await wait_any(woken, over, gone, doors.closing)


@contextmanager
def waiting(doors: Doors) -> Iterator[None]:
    """Count one open long poll while the block runs."""
    doors.tally.waits += 1
    try:
        yield
    finally:
        doors.tally.waits -= 1
