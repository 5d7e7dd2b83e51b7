"""Things that the event loop can be told of, and waiting for the first of several. Must not know what they mean.

asyncio's own Event is waited for alone: to wait for one of four takes four tasks, and each claim does.
"""

import asyncio


class Notice:
    """Set when something has happened. Belongs to one event loop; only `is_set` may be asked from another thread."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: set[asyncio.Future[None]] = set()

    def is_set(self) -> bool:
        """Tell whether it has happened."""
        return self._is_set

    def set(self) -> None:
        """Wake whoever waits for it."""
        self._is_set = True
        for heard in self._waiting:
            resolve(heard)

    def clear(self) -> None:
        """Take it that it has not happened."""
        self._is_set = False

    def tell(self, heard: "asyncio.Future[None]") -> None:
        """Resolve that future once it happens."""
        self._waiting.add(heard)

    def tell_no_more(self, heard: "asyncio.Future[None]") -> None:
        """Leave that future alone."""
        self._waiting.discard(heard)


async def wait_any(*notices: Notice, timeout_s: float | None = None) -> None:
    """Wait until one of them is set, at most `timeout_s` seconds."""
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
    """Let whoever waits go on."""
    if not heard.done():
        heard.set_result(None)
