"""Brings what the writer settled to the event loop, one wake-up for each batch. Must not know what was settled."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from greenroom.store.batch import Resolution
from greenroom.store.writer import resolve_each


class Delivery:
    """Before the loop runs and after it has ended, waiters are told on the writer's own thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def deliver(self, resolutions: Sequence[Resolution]) -> None:
        """Give every waiter its result; on the writer's thread. RuntimeError when the loop has just been closed."""
        loop = self._loop
        if loop is None:
            resolve_each(resolutions)
        else:
            loop.call_soon_threadsafe(resolve_each, resolutions)

    @contextmanager
    def on(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Deliver to that loop while the block runs."""
        self._loop = loop
        try:
            yield
        finally:
            self._loop = None
