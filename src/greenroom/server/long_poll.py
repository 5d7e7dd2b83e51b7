"""Long polls: an agent's claim waits for a task, a daemon's poll waits for new assignments.

A poll reads the state, waits for a notification, and reads again. It subscribes before the first read, so that no
change in between is missed. It ends at the latest when the server stops or the client disconnects.

Uvicorn does not cancel the handler of a client that has disconnected. So each poll watches its connection
(`watch_disconnect`), and a claim checks it before it assigns a task.

Settings: `claim_wait_max_s`, `assignments_wait_max_s`. Metric: `greenroom_waits`.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from greenroom.server.context import ServerContext
from greenroom.server.request import RawRequest, Request
from greenroom.server.response import wait_for_disconnect
from greenroom.server.wakeups import Flag, wait_any
from greenroom.service import agent_specs, tasks
from greenroom.service.context import ServiceContext
from greenroom.service.state import notifications
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import Assignments, ClaimedTask
from greenroom.wire.requests import ClaimBody


async def wait_for_task(server: ServerContext, request: Request[ClaimBody]) -> ClaimedTask | None:
    """Claim the role's next task, waiting up to the body's `wait_s` seconds for one; None when there was none in time.

    A client that has disconnected gets no task. A participant that loses its role while it waits gets the error of
    `tasks.claim` at once.
    """
    limits, body = server.service.limits, request.body
    room = server.service.room_cache.find(request.room)
    key = notifications.claim_key(room.id if room is not None else "", body.role)
    wait_s = min(body.wait_s, limits.claim_wait_for(limits.heartbeat_interval_s))
    with watch_disconnect(request.raw) as disconnected:

        def try_claim(context: ServiceContext, transaction: Transaction) -> ClaimedTask | None:
            if disconnected.is_set():
                return None
            return tasks.claim(context, transaction, request.principal, request.room, body)

        if wait_s == 0:
            return await server.write(try_claim)
        with server.subscribe(key) as woken, server.timer(wait_s) as timeout, count_long_poll(server):
            while True:
                woken.clear()
                task = await server.write(try_claim)
                if task is not None:
                    return task
                await wait_any(woken, timeout, disconnected, server.closing)
                if timeout.is_set() or disconnected.is_set() or server.closing.is_set():
                    # No further claim: it would count as a heartbeat, and the end of a wait is no sign of life.
                    return None


async def wait_for_assignments(server: ServerContext, request: Request[None]) -> Assignments:
    """Return a machine's assignments, waiting up to the query's `wait_s` seconds for another version than `after`."""
    limits, known_version = server.service.limits, request.query.after
    wait_s = 0.0 if known_version is None else min(request.query.wait_s, limits.assignments_wait_max_s)
    watching, timer = server.subscribe(notifications.assignments_key(request.machine)), server.timer(wait_s)
    with watching as woken, timer as timeout, count_long_poll(server), watch_disconnect(request.raw) as disconnected:
        while True:
            woken.clear()
            assignments = await server.read(
                lambda context, reader: agent_specs.list_assignments(
                    context, reader, request.principal, request.machine
                )
            )
            is_over = timeout.is_set() or disconnected.is_set() or server.closing.is_set()
            if assignments.version != known_version or is_over:
                return assignments
            await wait_any(woken, timeout, disconnected, server.closing)


@contextmanager
def count_long_poll(server: ServerContext) -> Iterator[None]:
    """Count one open long poll while the block runs."""
    server.counters.long_polls += 1
    try:
        yield
    finally:
        server.counters.long_polls -= 1


@contextmanager
def watch_disconnect(raw_request: RawRequest) -> Iterator[Flag]:
    """Yield a flag that is set once the client has disconnected. The request's body must have been read before."""
    disconnected = Flag()
    watcher = asyncio.create_task(set_on_disconnect(raw_request, disconnected))
    try:
        yield disconnected
    finally:
        watcher.cancel()


async def set_on_disconnect(raw_request: RawRequest, disconnected: Flag) -> None:
    await wait_for_disconnect(raw_request.receive)
    disconnected.set()
