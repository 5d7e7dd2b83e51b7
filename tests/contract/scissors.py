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

Way = Literal["out", "in"]
"""The direction of a message: to PostgreSQL, or from it."""


class Scissors:
    """Listens on a port, and forwards messages between a client and a database until it cuts the connection."""

    def __init__(self, url: str) -> None:
        """`url` must name the folder of PostgreSQL's socket; `self.url` is the database's URL through this proxy."""
        parts = conninfo_to_dict(url)
        [self._place] = [str(path) for path in Path(str(parts["host"])).glob(".s.PGSQL.*") if path.is_socket()]
        self._listener = socket.create_server(("127.0.0.1", 0))
        place = f"127.0.0.1:{self._listener.getsockname()[1]}/{parts['dbname']}"
        self.url = f"postgresql://{parts['user']}@{place}?sslmode=disable&gssencmode=disable"
        self._guard = threading.Lock()
        self._left: tuple[Way, int] | None = None
        self._is_half = False
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self._start(self._let_in)

    def cut_after(self, way: Way, messages: int, *, is_half: bool) -> None:
        """Cut after `messages` in direction `way`, when the next one is to be forwarded.

        With `is_half` only the client's connection is closed, so that PostgreSQL does not notice.
        """
        with self._guard:
            self._left, self._is_half = (way, messages), is_half

    def put_away(self) -> bool:
        """Cancel the cut; whether the connection was cut."""
        with self._guard:
            left, self._left = self._left, None
        return left is None

    def close(self) -> None:
        for each in self._sockets:
            hang_up(each)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for each in self._sockets:
            each.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self._threads[-1].start()

    def _let_in(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                theirs = socket.socket(socket.AF_UNIX)
                self._sockets += ours, theirs
                ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                theirs.connect(self._place)
                self._start(self._pass_on, "out", ours, theirs)
                self._start(self._pass_on, "in", theirs, ours)

    def _pass_on(self, way: Way, source: socket.socket, target: socket.socket) -> None:
        is_half = False
        with suppress(OSError), source.makefile("rb") as file:
            for message in messages_of(file, begins_untyped=way == "out"):
                if self._is_time(way):
                    is_half = self._is_half
                    break
                target.sendall(message)
        ours, theirs = (source, target) if way == "out" else (target, source)
        hang_up(ours)
        if not is_half:
            hang_up(theirs)

    def _is_time(self, way: Way) -> bool:
        with self._guard:
            if self._left is None or self._left[0] != way:
                return False
            left = self._left[1]
            self._left = (way, left - 1) if left else None
            return left == 0


def messages_of(file: BufferedReader, begins_untyped: bool) -> Iterator[bytes]:
    """The messages of a connection until it is closed. Each has a type and a length; a client's first has no type."""
    head_bytes = 4 if begins_untyped else 5
    while len(head := file.read(head_bytes)) == head_bytes:
        yield head + file.read(int.from_bytes(head[-4:]) - 4)
        head_bytes = 5


def hang_up(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
