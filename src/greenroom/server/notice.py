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
        for heard in self._waiting:
            resolve(heard)

    def clear(self) -> None:
        """Reset the flag."""
        self._is_set = False

    def tell(self, heard: "asyncio.Future[None]") -> None:
        """Resolve that future when the flag is set."""
        self._waiting.add(heard)

    def tell_no_more(self, heard: "asyncio.Future[None]") -> None:
        """Do not resolve that future any more."""
        self._waiting.discard(heard)


async def wait_any(*notices: Notice, timeout_s: float | None = None) -> None:
    """Wait until one of the notices is set, for at most `timeout_s` seconds (None: no limit)."""
    if any(notice.is_set() for notice in notices):
        return
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[None] = loop.create_future()
    for notice in notices:
        notice.tell(heard)
    timer = loop.call_later(timeout_s, resolve, heard) if timeout_s is not None else None
    try:
        await heard
    finally:
        for notice in notices:
            notice.tell_no_more(heard)
        if timer is not None:
            timer.cancel()


def resolve(heard: "asyncio.Future[None]") -> None:
    """Resolve a future, unless it is done already."""
    if not heard.done():
        heard.set_result(None)
