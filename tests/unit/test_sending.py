"""Writes in one turn of the event loop are sent together, and before the connection is closed."""

import asyncio
from typing import Any

from greenroom.server.sending import Gathering


class Wire:
    """A transport that records its calls."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def close(self) -> None:
        self.told.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.told


def gathering(wire: Wire) -> Gathering:
    return Gathering(wire, asyncio.get_running_loop())  # type: ignore[arg-type]


async def turn() -> None:
    """Wait for one turn of the event loop."""
    heard = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(heard.set_result, None)
    await heard


def test_head_and_body_go_out_together() -> None:
    async def story() -> None:
        wire = Wire()
        transport = gathering(wire)
        transport.write(b"head")
        transport.write(b"body")
        assert wire.told == []
        await turn()
        assert wire.told == [b"headbody"]
        transport.write(b"more")
        await turn()
        assert wire.told == [b"headbody", b"more"]

    asyncio.run(story())


def test_what_was_gathered_goes_out_before_the_connection_is_closed() -> None:
    async def story() -> None:
        wire = Wire()
        transport = gathering(wire)
        transport.write(b"last words")
        transport.close()
        await turn()
        assert wire.told == [b"last words", "closed"]
        assert transport.is_closing()

    asyncio.run(story())
