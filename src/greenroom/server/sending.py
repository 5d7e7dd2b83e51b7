"""Sends the head and the body of a response in one write.

uvicorn writes head and body separately, and each write is a system call and a packet of its own. For many responses
that costs more than all the other work.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Gathering:
    """A transport that collects what one step of the event loop writes, and writes it at once."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport: Final = transport
        self._loop: Final = loop
        self._chunks: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Collect `data`. It is written after the callbacks that are ready now, and before later input is handled."""
        if not self._chunks:
            self._loop.call_soon(self._flush)
        self._chunks.append(data)

    def close(self) -> None:
        """Write what was collected, then close."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        data = b"".join(self._chunks)
        self._chunks.clear()
        if data and not self._transport.is_closing():  # The client may have disconnected meanwhile.
            self._transport.write(data)


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, on a transport that collects writes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(Gathering(transport, self.loop))  # type: ignore[arg-type]
