"""A proxy to PostgreSQL that cuts the connection between any two messages of the protocol."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Literal

from psycopg.conninfo import conninfo_to_dict

from tests.waiting import PATIENCE_S

Direction = Literal["out", "in"]
"""The direction of a message: to PostgreSQL, or from it."""


class CuttingProxy:
    """Listens on a port, and forwards messages between a client and a database until it cuts the connection."""

    def __init__(self, url: str) -> None:
        """`url` must name the folder of PostgreSQL's socket; `self.url` is the database's URL through this proxy."""
        parts = conninfo_to_dict(url)
        [self._socket_path] = [str(path) for path in Path(str(parts["host"])).glob(".s.PGSQL.*") if path.is_socket()]
        self._listener = socket.create_server(("127.0.0.1", 0))
        address = f"127.0.0.1:{self._listener.getsockname()[1]}/{parts['dbname']}"
        self.url = f"postgresql://{parts['user']}@{address}?sslmode=disable&gssencmode=disable"
        self._lock = threading.Lock()
        self._remaining: tuple[Direction, int] | None = None
        self._client_only = False
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def cut_after(self, direction: Direction, messages: int, *, client_only: bool) -> None:
        """Cut after `messages` in `direction`, when the next one is to be forwarded.

        With `client_only`, only the client's connection is closed, so that PostgreSQL does not notice.
        """
        with self._lock:
            self._remaining, self._client_only = (direction, messages), client_only

    def cancel_cut(self) -> bool:
        """Cancel the cut. Returns whether the connection was cut already."""
        with self._lock:
            remaining, self._remaining = self._remaining, None
        return remaining is None

    def close(self) -> None:
        for connection in self._sockets:
            shut_down(connection)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for connection in self._sockets:
            connection.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                self._sockets += client, server
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server.connect(self._socket_path)
                self._start(self._forward, "out", client, server)
                self._start(self._forward, "in", server, client)

    def _forward(self, direction: Direction, source: socket.socket, target: socket.socket) -> None:
        client_only = False
        with suppress(OSError), source.makefile("rb") as file:
            for message in read_messages(file, starts_untyped=direction == "out"):
                if self._is_cut_due(direction):
                    client_only = self._client_only
                    break
                target.sendall(message)
        client, server = (source, target) if direction == "out" else (target, source)
        shut_down(client)
        if not client_only:
            shut_down(server)

    def _is_cut_due(self, direction: Direction) -> bool:
        with self._lock:
            if self._remaining is None or self._remaining[0] != direction:
                return False
            remaining = self._remaining[1]
            self._remaining = (direction, remaining - 1) if remaining else None
            return remaining == 0


def read_messages(file: BufferedReader, starts_untyped: bool) -> Iterator[bytes]:
    """The messages of a connection until it is closed. Each has a type and a length; a client's first has no type."""
    head_bytes = 4 if starts_untyped else 5
    while len(head := file.read(head_bytes)) == head_bytes:
        yield head + file.read(int.from_bytes(head[-4:]) - 4)
        head_bytes = 5


def shut_down(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
