"""Sends an answer's head and body together. Knows uvicorn's protocol and transports; must not know what is sent.

uvicorn writes head and body one after the other, and each write is a call of the system and a packet of its own, which
costs more than all that many an answer needed.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Gathering:
    """A transport that gathers what is written until the loop is about to go on, and writes it at once."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport: Final = transport
        self._loop: Final = loop
        self._gathered: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Write soon: after what runs now, and before anything that is heard later."""
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.append(data)

    def close(self) -> None:
        """Write what was gathered, then close."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        gathered = b"".join(self._gathered)
        self._gathered.clear()
        if gathered and not self._transport.is_closing():  # Its client may have hung up since it was written.
            self._transport.write(gathered)


class Protocol(HttpToolsProtocol):
    """uvicorn's, on a transport that gathers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(Gathering(transport, self.loop))  # type: ignore[arg-type]
