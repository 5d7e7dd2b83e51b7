"""Passes the results of the writer's batches to the event loop, with one wake-up for each batch."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from greenroom.store.batch import Resolution
from greenroom.store.writer import resolve_each


class Delivery:
    """Resolves futures on the event loop or, before it runs and after it has ended, on the writer's own thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def deliver(self, resolutions: Sequence[Resolution]) -> None:
        """Have every future resolved; called on the writer's thread.

        Raises RuntimeError when the loop has just been closed.
        """
        loop = self._loop
        if loop is None:
            resolve_each(resolutions)
        else:
            loop.call_soon_threadsafe(resolve_each, resolutions)

    @contextmanager
    def on(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Deliver to `loop` while the block runs."""
        self._loop = loop
        try:
            yield
        finally:
            self._loop = None
