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


async def claim(server: Doors, request: Ask[Claim]) -> ClaimedTask | None:
    """Claim the role's next task, waiting up to the body's `wait_s` seconds for one; None when there was none in time.

    A client that has disconnected gets no task. A participant that loses its role while it waits gets the error of
    `tasks.claim` at once.
    """
    limits, body = server.world.limits, request.body
    room = server.world.directory.find(request.room)
    key = signals.claim_key(room.id if room is not None else "", body.role)
    wait_s = min(body.wait_s, limits.claim_wait_for(limits.heartbeat_interval_s))
    with watched(request.sent) as disconnected:

        def try_claim(world: World, transaction: Transaction) -> ClaimedTask | None:
            if disconnected.is_set():
                return None
            return tasks.claim(world, transaction, request.caller, request.room, body)

        if wait_s == 0:
            return await server.write(try_claim)
        with server.watching(key) as woken, server.timer(wait_s) as timeout, waiting(server):
            while True:
                woken.clear()
                task = await server.write(try_claim)
                if task is not None:
                    return task
                await wait_any(woken, timeout, disconnected, server.closing)
                if timeout.is_set() or disconnected.is_set() or server.closing.is_set():
                    # No further claim: it would count as a heartbeat, and the end of a wait is no sign of life.
                    return None


async def wishes(server: Doors, request: Ask[None]) -> Wishes:
    """Return a machine's assignments, waiting up to the query's `wait_s` seconds for another version than `after`."""
    limits, known_version = server.world.limits, request.query.after
    wait_s = 0.0 if known_version is None else min(request.query.wait_s, limits.wishes_wait_max_s)
    watching, timer = server.watching(signals.wishes_key(request.machine)), server.timer(wait_s)
    with watching as woken, timer as timeout, waiting(server), watched(request.sent) as disconnected:
        while True:
            woken.clear()
            assignments = await server.read(
                lambda world, reader: wishing.wishes(world, reader, request.caller, request.machine)
            )
            is_over = timeout.is_set() or disconnected.is_set() or server.closing.is_set()
            if assignments.version != known_version or is_over:
                return assignments
            await wait_any(woken, timeout, disconnected, server.closing)


@contextmanager
def waiting(server: Doors) -> Iterator[None]:
    """Count one open long poll while the block runs."""
    server.tally.waits += 1
    try:
        yield
    finally:
        server.tally.waits -= 1
