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

from tests.waiting import LOOK_EVERY_S, PATIENCE_S

PASS, CUT, SWALLOW = "pass", "cut", "swallow"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n")


class Passed:
    """A request that went through to the server, the number of its connection, and the answer so far."""

    def __init__(self, line: int, method: str, path: str) -> None:
        self.line = line
        self.method = method
        self.path = path
        self.answer = b""

    @property
    def verb(self) -> str:
        """The last part of its path."""
        return self.path.partition("?")[0].rpartition("/")[2]

    def __repr__(self) -> str:
        return f"{self.method} {self.path} on connection {self.line}: {self.answer[-120:]!r}"


class Side(asyncio.Protocol):
    """One end of a connection through the proxy. What it reads goes to the other end."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None
        self.passed: Passed | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._proxy.sides.append(self)

    def data_received(self, data: bytes) -> None:
        self.note(data)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def note(self, data: bytes) -> None:
        """Append data of the server to the answer of the last request on this connection."""
        if self.other is not None and self.other.passed is not None:
            self.other.passed.answer += data

    def connection_lost(self, error: Exception | None) -> None:
        self._proxy.sides.remove(self)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def fall_silent(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def go_on(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def reset(self) -> None:
        assert self.transport is not None
        line = self.transport.get_extra_info("socket")
        if line.fileno() >= 0:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.transport.abort()


class Front(Side):
    """The end towards a client. It connects to the server as soon as the proxy passes data."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(proxy)
        self._line = next(proxy.lines)

    def note(self, data: bytes) -> None:
        if (request := REQUEST.match(data)) is not None:
            self.passed = Passed(self._line, request[1].decode(), request[2].decode())
            self._proxy.passed.append(self.passed)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.fall_silent()
        if self._proxy.mode == PASS:
            self.connect()
        elif self._proxy.mode == CUT:
            self.reset()  # it was accepted just before the cut

    def connect(self) -> None:
        self._proxy.begin(self._connect())

    async def _connect(self) -> None:
        if self.other is None:
            back = self.other = Side(self._proxy)
            back.other = self
            try:
                await asyncio.get_running_loop().create_connection(lambda: back, *self._proxy.target)
            except OSError:
                self.reset()
                return
        if self._proxy.mode == PASS:
            self.go_on()


class Proxy:
    """A proxy in a thread of its own. It keeps its port while it refuses connections."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.mode = PASS
        self.sides: list[Side] = []
        self.lines = itertools.count(1)
        self.passed: list[Passed] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._place = self._bind(0)
        self.port = int(self._place.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._listener: socket.socket | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._do(self._listen())

    def cut(self) -> None:
        """Reset every connection, and refuse new ones."""
        self._do(self._cut())

    def swallow(self) -> None:
        """Stall: no byte goes through, no connection ends, new ones are accepted and not answered."""
        self._do(self._swallow())

    def mend(self, late: bool = False) -> None:
        """Pass new connections through. Stalled ones stay stalled, or, with `late`, deliver all that they held back."""
        self._do(self._mend(late))

    def close(self) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._place.close()

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _do(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_S)

    def _bind(self, port: int) -> socket.socket:
        # A second socket can listen on the same port while this one keeps the port reserved.
        place = socket.socket()
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        place.bind(("127.0.0.1", port))
        return place

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = self._bind(self.port)
            self._listener.listen(100)
            self._listener.setblocking(False)
            self._loop.add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        """Accept a client. asyncio's own server leaks a socket that it accepts while it is being closed."""
        with suppress(OSError):
            line, _ = listener.accept()
            line.setblocking(False)
            self.begin(self._let_in(line))

    async def _let_in(self, line: socket.socket) -> None:
        await self._loop.connect_accepted_socket(lambda: Front(self), line)

    async def _cut(self) -> None:
        self.mode = CUT
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for side in list(self.sides):
            side.reset()
        await asyncio.sleep(0)  # the transports close their sockets in the next round

    async def _end(self) -> None:
        await self._cut()
        # Connections that are being accepted, or connected to the server, become sides first; so none is left open.
        while (others := asyncio.all_tasks() - {asyncio.current_task()}) or self.sides:
            if others:
                await asyncio.wait(others, timeout=LOOK_EVERY_S)
            for side in list(self.sides):
                side.reset()
            await asyncio.sleep(0)

    async def _swallow(self) -> None:
        self.mode = SWALLOW
        for side in self.sides:
            side.fall_silent()

    async def _mend(self, late: bool) -> None:
        self.mode = PASS
        if late:
            for side in list(self.sides):
                if isinstance(side, Front) and side.other is None:
                    side.connect()
                else:
                    side.go_on()
        await self._listen()
