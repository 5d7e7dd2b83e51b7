"""Writes in one turn of the event loop are sent together, and before the connection is closed."""

import asyncio
from typing import Any

from greenroom.server.http_protocol import BufferedTransport


class RecordingTransport:
    """A transport that records its calls."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def write(self, data: bytes) -> None:
        self.calls.append(data)

    def close(self) -> None:
        self.calls.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.calls


def make_gathering(recorder: RecordingTransport) -> BufferedTransport:
    return BufferedTransport(recorder, asyncio.get_running_loop())  # type: ignore[arg-type]


async def run_loop_once() -> None:
    """Wait for one turn of the event loop."""
    is_done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(is_done.set_result, None)
    await is_done


def test_head_and_body_are_sent_together() -> None:
    async def write_and_check() -> None:
        recorder = RecordingTransport()
        transport = make_gathering(recorder)
        transport.write(b"head")
        transport.write(b"body")
        assert recorder.calls == []
        await run_loop_once()
        assert recorder.calls == [b"headbody"]
        transport.write(b"more")
        await run_loop_once()
        assert recorder.calls == [b"headbody", b"more"]

    asyncio.run(write_and_check())


def test_pending_writes_are_sent_before_close() -> None:
    async def write_and_check() -> None:
        recorder = RecordingTransport()
        transport = make_gathering(recorder)
        transport.write(b"last words")
        transport.close()
        await run_loop_once()
        assert recorder.calls == [b"last words", "closed"]
        assert transport.is_closing()

    asyncio.run(write_and_check())
