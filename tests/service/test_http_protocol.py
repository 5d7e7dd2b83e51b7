"""What a client may send before it is authenticated: how much, how slowly, and in which form."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from uvicorn.server import ServerState

from greenroom.domain.limits import HEAD_BYTES_MAX
from greenroom.server import http_protocol
from greenroom.server.http_protocol import HttpProtocol
from greenroom.server.listener import uvicorn_config
from tests.service.in_process_server import HOST, InProcessServer
from tests.waiting import PATIENCE_S

HEAD = f"GET /api/v1/rooms HTTP/1.1\r\nHost: {HOST}\r\n".encode()
POST = HEAD.replace(b"GET", b"POST") + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"


class ObservedProtocol(HttpProtocol):
    """One connection, and how much of what its client sent has been handled."""

    handled_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.has_handled = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.handled_bytes += len(data)
        self.has_handled.set()

    async def wait_for(self, count: int) -> None:
        """Wait until so many bytes have been handled."""
        while self.handled_bytes < count:
            await self.has_handled.wait()
            self.has_handled.clear()


class Client:
    """A connection to the app, which is served on a socket with the server's own protocol."""

    def __init__(self, protocol: ObservedProtocol, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.protocol, self.reader, self.writer = protocol, reader, writer

    async def send(self, *parts: bytes) -> None:
        """Send the parts, each after the server has handled the one before."""
        sent = self.protocol.handled_bytes
        for part in parts:
            self.writer.write(part)
            sent += len(part)
            await self.protocol.wait_for(sent)

    async def read_response(self) -> tuple[int, Any]:
        """Read one response: its status and its JSON body."""
        async with asyncio.timeout(PATIENCE_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.strip().split(b"\r\n")[1:])
            body = await self.reader.readexactly(int(fields[b"content-length"]))
        return int(head.split()[1]), json.loads(body)

    async def read_to_end(self) -> bytes:
        """Read until the server closes the connection."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@asynccontextmanager
async def connect(server: InProcessServer) -> AsyncIterator[Client]:
    config, state, protocols = uvicorn_config(server.app, server.limits), ServerState(), list[ObservedProtocol]()
    config.load()

    def make_protocol() -> ObservedProtocol:
        protocols.append(ObservedProtocol(config, state, {}))
        return protocols[-1]

    listener = await asyncio.get_running_loop().create_server(make_protocol, "127.0.0.1", 0)
    async with listener:
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        while not protocols:
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        try:
            yield Client(protocols[0], reader, writer)
        finally:
            writer.transport.abort()
            await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])
            if state.tasks:
                await asyncio.wait(state.tasks)


@pytest.fixture
def server() -> Iterator[InProcessServer]:
    with InProcessServer() as running:
        yield running


def authorization(server: InProcessServer) -> bytes:
    return f"Authorization: Bearer {server.token}\r\n".encode()


def exchange(server: InProcessServer, *parts: bytes) -> tuple[int, str]:
    """Send the parts on a new connection; return the status of the response, and the code of its error."""

    async def run() -> tuple[int, str]:
        async with connect(server) as client:
            sending = asyncio.create_task(client.send(*parts))
            status, answer = await client.read_response()
            sending.cancel()
            return status, answer["code"] if status >= 400 else ""

    return server.run(run())


def exchange_to_end(server: InProcessServer, *parts: bytes) -> tuple[int, str]:
    """As `exchange`, and wait until the server has closed the connection."""

    async def run() -> tuple[int, str]:
        async with connect(server) as client:
            sending = asyncio.create_task(client.send(*parts))
            status, answer = await client.read_response()
            await client.read_to_end()
            sending.cancel()
            return status, answer["code"]

    return server.run(run())


def test_head_up_to_the_limit_is_answered(server: InProcessServer) -> None:
    padding = HEAD_BYTES_MAX - len(HEAD) - len(authorization(server)) - 20
    assert 200 == exchange(server, HEAD + authorization(server) + b"X: " + b"a" * padding + b"\r\n\r\n")[0]


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([HEAD + b"X: " + b"a" * HEAD_BYTES_MAX + b"\r\n\r\n"], id="one header at once"),
        pytest.param([HEAD + b"X: ", *[b"a" * 1000] * 200], id="one header without end"),
        pytest.param([HEAD, *[b"X: a\r\n" * 100] * 200], id="many headers without end"),
        pytest.param([HEAD, b"X: a\r\n" * HEAD_BYTES_MAX, b"\r\n"], id="many headers at once"),
        pytest.param([b"GET /", *[b"a" * 1000] * 200], id="target without end"),
        pytest.param([b"GET /" + b"a" * 2 * HEAD_BYTES_MAX + b" HTTP/1.1\r\n\r\n"], id="long target"),
        pytest.param([HEAD, b"a" * 2 * HEAD_BYTES_MAX], id="header name without end"),
    ],
)
def test_larger_head_is_refused(server: InProcessServer, parts: list[bytes]) -> None:
    assert (431, "head_too_large") == exchange_to_end(server, *parts)


def test_trailers_without_end_are_refused(server: InProcessServer) -> None:
    head = POST + authorization(server) + b"\r\n"
    assert (431, "head_too_large") == exchange_to_end(server, head + b"0\r\n", *[b"X: a\r\n" * 100] * 200)


def test_chunk_extensions_without_end_are_refused(server: InProcessServer) -> None:
    head = POST + authorization(server) + b"\r\n"
    assert (431, "head_too_large") == exchange_to_end(server, head + b"1;", *[b"a" * 1000] * 200)


def test_trailer_is_no_header(server: InProcessServer) -> None:
    body = b"2\r\n{}\r\n0\r\n" + authorization(server) + b"\r\n"
    assert (401, "unauthorized") == exchange(server, POST + b"\r\n" + body)
    assert (401, "unauthorized") == exchange(server, POST + b"\r\n", body)


@pytest.mark.parametrize("target", [f"http://{HOST}/api/v1/rooms", "http://evil/api/v1/rooms", "*", "api/v1/rooms"])
def test_target_that_is_no_path_is_refused(server: InProcessServer, target: str) -> None:
    head = HEAD.replace(b"/api/v1/rooms", target.encode()) + authorization(server) + b"\r\n"
    assert (400, "invalid_request") == exchange_to_end(server, head)


@pytest.mark.parametrize("text", [b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\nA b\r\n\r\n"])
def test_what_is_not_http_is_refused(server: InProcessServer, text: bytes) -> None:
    assert (400, "invalid_request") == exchange_to_end(server, text)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", HEAD])
def test_incomplete_head_is_closed_after_its_time(
    server: InProcessServer, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT_S", 0.05)

    async def run() -> bytes:
        async with connect(server) as client:
            await client.send(sent)
            return await client.read_to_end()

    answer = server.run(run())
    assert answer.startswith(b"HTTP/1.1 408 ") if sent else answer == b""


def test_time_of_a_head_ends_with_it(server: InProcessServer) -> None:
    async def run() -> list[int]:
        request, statuses = HEAD + authorization(server) + b"\r\n", []
        async with connect(server) as client:
            assert client.protocol._head_timer is not None
            for _ in range(2):
                await client.send(request[:20])
                assert client.protocol._head_timer is not None
                await client.send(request[20:])
                statuses.append((await client.read_response())[0])
                assert client.protocol._head_timer is None
        return statuses

    assert [200, 200] == server.run(run())


def test_answer_in_progress_is_not_mixed_with_an_error(server: InProcessServer) -> None:
    """A stream is being sent when the same connection sends nonsense."""

    async def run() -> bytes:
        async with connect(server) as client:
            request = HEAD.replace(b"rooms", b"events") + authorization(server) + b"Accept: text/event-stream\r\n\r\n"
            await client.send(request)
            received = await client.reader.readuntil(b"\r\n\r\n")
            await client.send(b"nonsense\r\n\r\n")
            return received + await client.read_to_end()

    answer = server.run(run())
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 400" not in answer
