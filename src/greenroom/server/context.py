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
from greenroom.server.background import BackgroundLoops
from greenroom.server.counters import Counters
from greenroom.server.metrics import Metrics
from greenroom.server.wakeups import Broadcast, Flag, resolve_future
from greenroom.service.context import ServiceContext
from greenroom.service.state import notifications
from greenroom.store.transaction import Reader, Transaction

T = TypeVar("T")


class ServerContext:
    """What every handler uses: the store, wake-ups, counters, metrics and background loops of one server.

    Create it on the event loop that it serves. `closing` is set when the server stops.
    """

    def __init__(self, context: ServiceContext) -> None:
        self.service: Final = context
        self.closing: Final = Flag()
        self.counters: Final = Counters()
        self._loop = asyncio.get_running_loop()
        self.broadcast: Final = Broadcast(self._loop)
        self.background: Final = BackgroundLoops(context, self.broadcast, self.closing, self.counters)
        self.metrics: Final = Metrics(context, self.counters, self.background)
        self._unwatch = context.notifications.watch(notifications.EVENTS_KEY, self.broadcast.notify)
        self._readers = ThreadPoolExecutor(context.limits.readers_max, thread_name_prefix="reader")
        self._open_reads = 0

    async def write(self, mutation: Callable[[ServiceContext, Transaction], T | GreenroomError]) -> T:
        """Run a mutation, wait until it is durable, and return its result.

        An error that the mutation returns is raised here, after what it wrote is committed. An error that it raises
        rolls everything back.
        """
        result = await await_result(self.service.store.write(lambda transaction: mutation(self.service, transaction)))
        if isinstance(result, GreenroomError):
            raise result
        return result

    async def read(self, query: Callable[[ServiceContext, Reader], T]) -> T:
        """Run a query on a reader thread and return its result. Raises StoreOverloaded when the read queue is full."""
        if self._open_reads >= self.service.limits.reads_waiting_max:
            raise StoreOverloaded(
                f"Read queue is full ({self._open_reads} waiting).",
                "Send the request again after a pause.",
            )
        self._open_reads += 1
        try:
            return await self._loop.run_in_executor(
                self._readers, self.service.store.read, lambda reader: query(self.service, reader)
            )
        finally:
            self._open_reads -= 1

    @contextmanager
    def subscribe(self, key: str) -> Iterator[Flag]:
        """Yield a flag that is set whenever `key` is woken. Clear it, read the state, and only then wait for it."""
        woken = Flag()

        def wake() -> None:
            self._loop.call_soon_threadsafe(woken.set)

        unwatch = self.service.notifications.watch(key, wake)
        try:
            yield woken
        finally:
            unwatch()

    @contextmanager
    def timer(self, seconds: float) -> Iterator[Flag]:
        """Yield a flag that is set after `seconds`. It interrupts nothing: a mutation in progress completes."""
        elapsed = Flag()
        handle = self._loop.call_later(seconds, elapsed.set)
        try:
            yield elapsed
        finally:
            handle.cancel()

    def close(self) -> None:
        """Stop wake-ups and reads. Queries in progress are waited for, queued ones are cancelled."""
        self._unwatch()
        self._readers.shutdown(wait=True, cancel_futures=True)


async def await_result(future: Future[T]) -> T:
    """Wait for a future of the writer and return its result.

    The result mostly arrives on the loop's own thread, many with one wake-up (see `Writer`), where
    `asyncio.wrap_future` would wake the loop once more for each. Cancelling the wait does not cancel the future.
    """
    if not future.done():
        loop, thread = asyncio.get_running_loop(), threading.get_ident()
        resolved: asyncio.Future[None] = loop.create_future()

        def on_done(_: Future[T]) -> None:
            if threading.get_ident() == thread:
                resolve_future(resolved)
            else:
                loop.call_soon_threadsafe(resolve_future, resolved)

        future.add_done_callback(on_done)
        await resolved
    return future.result()
