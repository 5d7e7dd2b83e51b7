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
def watched(raw_request: Sent) -> Iterator[Notice]:
    """Yield a flag that is set once the client has disconnected. The request's body must have been read before."""
    disconnected = Notice()
    watcher = asyncio.create_task(wait_gone(raw_request, disconnected))
    try:
        yield disconnected
    finally:
        watcher.cancel()


async def wait_gone(raw_request: Sent, disconnected: Notice) -> None:
    """Set `disconnected` when the connection ends."""
    while (await raw_request.receive())["type"] != "http.disconnect":
        pass
    disconnected.set()
