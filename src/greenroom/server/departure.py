"""Detects that the client of a request disconnects while the request is handled.

Neither uvicorn nor Litestar cancels the handler of a client that has disconnected. A handler that is about to assign
a task or a role checks this first.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from greenroom.server.ask import Sent
from greenroom.server.notice import Notice


@contextmanager
def watched(sent: Sent) -> Iterator[Notice]:
    """Yield a notice that is set once the client has disconnected. The request's body must have been read before."""
    departure = Notice()
    watch = asyncio.create_task(wait_gone(sent, departure))
    try:
        yield departure
    finally:
        watch.cancel()


async def wait_gone(sent: Sent, departure: Notice) -> None:
    """Set `departure` when the connection ends."""
    while (await sent.receive())["type"] != "http.disconnect":
        pass
    departure.set()
