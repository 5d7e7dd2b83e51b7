"""A minimal keep-alive HTTP client connection. It handles only the HTTP/1.1 that the measured servers send.

A client library would cost more than the server that is to be measured.
"""

import asyncio
from collections.abc import Callable

import msgspec

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "
HOST = "127.0.0.1"

OnAnswer = Callable[["Connection", int, bytes], None]


class Connection(asyncio.Protocol):
    """Sends one request at a time, and calls `on_answer` with status and body of each answer; status 0: it was lost."""

    def __init__(self, on_answer: OnAnswer, number: int = 0) -> None:
        self.number = number
        self._on_answer = on_answer
        self._transport: asyncio.Transport | None = None
        self._held = b""
        self._lost: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = error or ConnectionResetError("the server closed the connection")
        self._on_answer(self, 0, b"")

    def data_received(self, data: bytes) -> None:
        if self._held:
            data = self._held + data
        end = data.find(HEAD_END)
        at = data.find(LENGTH, 0, end) if end >= 0 else -1
        body_at = end + len(HEAD_END)
        length = int(data[at + len(LENGTH) : data.index(b"\r", at)]) if at >= 0 else 0
        if end < 0 or len(data) < body_at + length:
            self._held = data
            return
        self._held = b""
        if len(data) > body_at + length:
            raise ValueError("more data than one answer: this client sends one request at a time")
        self._on_answer(self, int(data[9:12]), data[body_at:])

    @property
    def is_lost(self) -> bool:
        return self._lost is not None

    def send(self, request: bytes) -> None:
        assert self._transport is not None
        if self._lost is not None:
            raise self._lost
        self._transport.write(request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class AsyncConnection:
    """The same connection for coroutines: send a request and await its answer."""

    def __init__(self) -> None:
        self._connection = Connection(self._answered)
        self._awaited: asyncio.Future[tuple[int, bytes]] | None = None

    @classmethod
    async def connect(cls, port: int) -> "AsyncConnection":
        caller = cls()
        await asyncio.get_running_loop().create_connection(lambda: caller._connection, HOST, port)
        return caller

    async def request(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; the status and body of its answer. Status 0: the connection was lost."""
        self._awaited = asyncio.get_running_loop().create_future()
        self._connection.send(request)
        return await self._awaited

    @property
    def is_lost(self) -> bool:
        """Whether the server has closed the connection."""
        return self._connection.is_lost

    def close(self) -> None:
        self._connection.close()

    def _answered(self, connection: Connection, status: int, body: bytes) -> None:
        awaited, self._awaited = self._awaited, None
        if awaited is not None and not awaited.done():
            awaited.set_result((status, body))


def encode_request(method: str, port: int, path: str, token: str, body: msgspec.Struct | None) -> bytes:
    """Encode a request with its headers, as it is sent over the connection."""
    content = msgspec.json.encode(body) if body is not None else b""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode("ascii") + content
