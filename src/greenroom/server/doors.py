"""Connects the event loop with the store: mutations run on the writer's thread, queries on reader threads.

Settings: `readers_max` (reader threads), `reads_waiting_max` (queries that may run or wait).
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar

from greenroom.domain.errors import GreenroomError, StoreOverloaded
from greenroom.server.bell import Bell
from greenroom.server.healing import Healing
from greenroom.server.metrics import Metrics
from greenroom.server.notice import Notice, resolve
from greenroom.server.tally import Tally
from greenroom.service import signals
from greenroom.service.world import World
from greenroom.store.transaction import Reader, Transaction

T = TypeVar("T")


class Doors:
    """What every handler uses: the store, wake-ups, counters, metrics and background loops of one server.

    Create it on the event loop that it serves. `closing` is set when the server stops.
    """

    def __init__(self, world: World) -> None:
        self.world: Final = world
        self.closing: Final = Notice()
        self.tally: Final = Tally()
        self._loop = asyncio.get_running_loop()
        self.bell: Final = Bell(self._loop)
        self.healing: Final = Healing(world, self.bell, self.closing, self.tally)
        self.metrics: Final = Metrics(world, self.tally, self.healing)
        self._unwatch = world.signals.watch(signals.FEED, self.bell.ring)
        self._readers = ThreadPoolExecutor(world.limits.readers_max, thread_name_prefix="reader")
        self._open_reads = 0

    async def write(self, mutation: Callable[[World, Transaction], T | GreenroomError]) -> T:
        """Run a mutation, wait until it is durable, and return its result.

        An error that the mutation returns is raised here, after what it wrote is committed. An error that it raises
        rolls everything back.
        """
        result = await outcome(self.world.store.write(lambda transaction: mutation(self.world, transaction)))
        if isinstance(result, GreenroomError):
            raise result
        return result

    async def read(self, query: Callable[[World, Reader], T]) -> T:
        """Run a query on a reader thread and return its result. Raises StoreOverloaded when the read queue is full."""
        if self._open_reads >= self.world.limits.reads_waiting_max:
            raise StoreOverloaded(
                f"Read queue is full ({self._open_reads} waiting).",
                "Send the request again after a pause.",
            )
        self._open_reads += 1
        try:
            return await self._loop.run_in_executor(
                self._readers, self.world.store.read, lambda reader: query(self.world, reader)
            )
        finally:
            self._open_reads -= 1

    @contextmanager
    def watching(self, key: str) -> Iterator[Notice]:
        """Yield a flag that is set whenever `key` is woken. Clear it, read the state, and only then wait for it."""
        woken = Notice()

        def wake() -> None:
            self._loop.call_soon_threadsafe(woken.set)

        unwatch = self.world.signals.watch(key, wake)
        try:
            yield woken
        finally:
            unwatch()

    @contextmanager
    def timer(self, seconds: float) -> Iterator[Notice]:
        """Yield a flag that is set after `seconds`. It interrupts nothing: a mutation in progress completes."""
        elapsed = Notice()
        handle = self._loop.call_later(seconds, elapsed.set)
        try:
            yield elapsed
        finally:
            handle.cancel()

    def close(self) -> None:
        """Stop wake-ups and reads. Queries in progress are waited for, queued ones are cancelled."""
        self._unwatch()
        self._readers.shutdown(wait=True, cancel_futures=True)


async def outcome(future: Future[T]) -> T:
    """Wait for a future of the writer and return its result.

    The result mostly arrives on the loop's own thread, many with one wake-up (see `Writer`), where
    `asyncio.wrap_future` would wake the loop once more for each. Cancelling the wait does not cancel the future.
    """
    if not future.done():
        loop, thread = asyncio.get_running_loop(), threading.get_ident()
        resolved: asyncio.Future[None] = loop.create_future()

        def on_done(_: Future[T]) -> None:
            if threading.get_ident() == thread:
                resolve(resolved)
            else:
                loop.call_soon_threadsafe(resolve, resolved)

        future.add_done_callback(on_done)
        await resolved
    return future.result()
