"""Knows whether the client of a request is still there. Must not know what it asked for.

Neither uvicorn nor Litestar stops a handler whose client has left; who is about to give something away must ask.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from greenroom.server.ask import Sent
from greenroom.server.notice import Notice


@contextmanager
def watched(sent: Sent) -> Iterator[Notice]:
    """A notice that is set once the client is known to be gone. The request's body must have been read before."""
    departure = Notice()
    watch = asyncio.create_task(wait_gone(sent, departure))
    try:
        yield departure
    finally:
        watch.cancel()


async def wait_gone(sent: Sent, departure: Notice) -> None:
    """Wait until the connection ends."""
    while (await sent.receive())["type"] != "http.disconnect":
        pass
    departure.set()
