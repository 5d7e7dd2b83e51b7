"""Flags on the event loop, and waiting for the first of several.

With asyncio's own Event, waiting for one of four takes four tasks, and each claim waits for four.
"""

import asyncio


class Notice:
    """A flag of one event loop. Only `is_set` may be called from another thread."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: set[asyncio.Future[None]] = set()

    def is_set(self) -> bool:
        """Return whether the flag is set."""
        return self._is_set

    def set(self) -> None:
        """Set the flag and wake everything that waits for it."""
        self._is_set = True
        for future in self._waiting:
            resolve(future)

    def clear(self) -> None:
        """Reset the flag."""
        self._is_set = False

    def tell(self, future: "asyncio.Future[None]") -> None:
        """Resolve that future when the flag is set."""
        self._waiting.add(future)

    def tell_no_more(self, future: "asyncio.Future[None]") -> None:
        """Do not resolve that future any more."""
        self._waiting.discard(future)


async def wait_any(*flags: Notice, timeout_s: float | None = None) -> None:
    """Wait until one of the flags is set, for at most `timeout_s` seconds (None: no limit)."""
    if any(flag.is_set() for flag in flags):
        return
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    for flag in flags:
        flag.tell(future)
    timer = loop.call_later(timeout_s, resolve, future) if timeout_s is not None else None
    try:
        await future
    finally:
        for flag in flags:
            flag.tell_no_more(future)
        if timer is not None:
            timer.cancel()


def resolve(future: "asyncio.Future[None]") -> None:
    """Resolve a future, unless it is done already."""
    if not future.done():
        future.set_result(None)
