"""Knows whether the client of a request is still there. Must not know what it asked for.

Neither uvicorn nor Litestar stops a handler whose client has left; who is about to give something away must ask.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Request


class Departure(asyncio.Event):
    """Set once the client is known to be gone. `is_set` may be asked from any thread."""


@asynccontextmanager
async def watched(request: Request[Any, Any, Any]) -> AsyncIterator[Departure]:
    """Watch for the client's leaving while the block runs. The request's body must have been read before."""
    departure = Departure()
    watch = asyncio.create_task(wait_gone(request, departure))
    try:
        yield departure
    finally:
        watch.cancel()


async def wait_gone(request: Request[Any, Any, Any], departure: Departure) -> None:
    """Wait until the connection ends."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    departure.set()


async def wait_any(*events: asyncio.Event, timeout_s: float | None = None) -> None:
    """Wait until one of the events is set, at most `timeout_s` seconds."""
    if any(event.is_set() for event in events):
        return
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
