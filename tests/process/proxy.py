"""A TCP proxy in front of a server that can reset connections, stall without closing them, and recover.

It records which requests went through, by their request line, and what came back.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from tests.waiting import PATIENCE_S, POLL_INTERVAL_S

PASS, CUT, STALL = "pass", "cut", "stall"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n")


class ProxiedRequest:
    """A request that went through to the server, the number of its connection, and the answer so far."""

    def __init__(self, connection: int, method: str, path: str) -> None:
        self.connection = connection
        self.method = method
        self.path = path
        self.answer = b""

    @property
    def verb(self) -> str:
        """The last part of its path."""
        return self.path.partition("?")[0].rpartition("/")[2]

    def __repr__(self) -> str:
        return f"{self.method} {self.path} on connection {self.connection}: {self.answer[-120:]!r}"


class ProxySide(asyncio.Protocol):
    """One end of a connection through the proxy. What it reads goes to the other end."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self.transport: asyncio.Transport | None = None
        self.other: ProxySide | None = None
        self.request: ProxiedRequest | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._proxy.sides.append(self)

    def data_received(self, data: bytes) -> None:
        self.record(data)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def record(self, data: bytes) -> None:
        """Append data of the server to the answer of the last request on this connection."""
        if self.other is not None and self.other.request is not None:
            self.other.request.answer += data

    def connection_lost(self, error: Exception | None) -> None:
        self._proxy.sides.remove(self)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def pause(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def reset(self) -> None:
        assert self.transport is not None
        connection = self.transport.get_extra_info("socket")
        if connection.fileno() >= 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.transport.abort()


class ClientSide(ProxySide):
    """The end towards a client. It connects to the server as soon as the proxy passes data."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(proxy)
        self._connection = next(proxy.connection_numbers)

    def record(self, data: bytes) -> None:
        if (request := REQUEST.match(data)) is not None:
            self.request = ProxiedRequest(self._connection, request[1].decode(), request[2].decode())
            self._proxy.requests.append(self.request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.pause()
        if self._proxy.mode == PASS:
            self.connect()
        elif self._proxy.mode == CUT:
            self.reset()  # it was accepted just before the cut

    def connect(self) -> None:
        self._proxy.spawn(self._connect())

    async def _connect(self) -> None:
        if self.other is None:
            back = self.other = ProxySide(self._proxy)
            back.other = self
            try:
                await asyncio.get_running_loop().create_connection(lambda: back, *self._proxy.target)
            except OSError:
                self.reset()
                return
        if self._proxy.mode == PASS:
            self.resume()


class Proxy:
    """A proxy in a thread of its own. It keeps its port while it refuses connections."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.mode = PASS
        self.sides: list[ProxySide] = []
        self.connection_numbers = itertools.count(1)
        self.requests: list[ProxiedRequest] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._reserved = self._bind(0)
        self.port = int(self._reserved.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._listener: socket.socket | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._run(self._listen())

    def cut(self) -> None:
        """Reset every connection, and refuse new ones."""
        self._run(self._cut())

    def stall(self) -> None:
        """Stall: no byte goes through, no connection ends, new ones are accepted and not answered."""
        self._run(self._stall())

    def restore(self, late: bool = False) -> None:
        """Pass new connections through. Stalled ones stay stalled, or, with `late`, deliver all that they held back."""
        self._run(self._restore(late))

    def close(self) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._reserved.close()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_S)

    def _bind(self, port: int) -> socket.socket:
        # A second socket can listen on the same port while this one keeps the port reserved.
        reserved = socket.socket()
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", port))
        return reserved

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = self._bind(self.port)
            self._listener.listen(100)
            self._listener.setblocking(False)
            self._loop.add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        """Accept a client. asyncio's own server leaks a socket that it accepts while it is being closed."""
        with suppress(OSError):
            connection, _ = listener.accept()
            connection.setblocking(False)
            self.spawn(self._connect_accepted(connection))

    async def _connect_accepted(self, connection: socket.socket) -> None:
        await self._loop.connect_accepted_socket(lambda: ClientSide(self), connection)

    async def _cut(self) -> None:
        self.mode = CUT
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for side in list(self.sides):
            side.reset()
        await asyncio.sleep(0)  # the transports close their sockets in the next round

    async def _close(self) -> None:
        await self._cut()
        # Connections that are being accepted, or connected to the server, become sides first; so none is left open.
        while (others := asyncio.all_tasks() - {asyncio.current_task()}) or self.sides:
            if others:
                await asyncio.wait(others, timeout=POLL_INTERVAL_S)
            for side in list(self.sides):
                side.reset()
            await asyncio.sleep(0)

    async def _stall(self) -> None:
        self.mode = STALL
        for side in self.sides:
            side.pause()

    async def _restore(self, late: bool) -> None:
        self.mode = PASS
        if late:
            for side in list(self.sides):
                if isinstance(side, ClientSide) and side.other is None:
                    side.connect()
                else:
                    side.resume()
        await self._listen()
