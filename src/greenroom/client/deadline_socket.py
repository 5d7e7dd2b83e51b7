"""A socket that gives a whole exchange one deadline.

A socket's own timeout starts again with each byte, so a peer that sends one byte a second could hold a request for
ever.

Limits: no deadline applies to connecting; the transport limits that by itself.
"""

import io
import socket
from typing import Any

from greenroom.clock import Clock

BYTES_PER_S = 64 * 1024
"""What a slow connection is expected to transfer: large bodies extend their deadline, small ones hardly."""


class DeadlineSocket:
    """What `http.client` needs of a socket, with one deadline for all that follows each call of `begin_exchange`."""

    def __init__(self, plain: socket.socket, clock: Clock) -> None:
        self._socket = plain
        self._clock = clock
        self._ends_at = 0.0

    def begin_exchange(self, timeout_s: float) -> None:
        """Start an exchange that must end within `timeout_s`."""
        self._ends_at = self._clock.monotonic() + timeout_s

    def set_timeout(self) -> None:
        """Limit the next blocking call to the time that is left; raise TimeoutError if none is."""
        left_s = self._ends_at - self._clock.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left_s)

    def extend(self, count: int) -> None:
        """Extend the deadline by the time that `count` bytes may take."""
        self._ends_at += count / BYTES_PER_S

    def sendall(self, data: Any) -> None:
        self.extend(len(data))
        self.set_timeout()
        self._socket.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb"
        return io.BufferedReader(DeadlineReader(self, self._socket))

    def close(self) -> None:
        self._socket.close()


class DeadlineReader(io.RawIOBase):
    """The reading side. Like the result of `socket.makefile`, it keeps the socket open until it is closed itself."""

    def __init__(self, timed: DeadlineSocket, plain: socket.socket) -> None:
        self._timed = timed
        self._raw = plain.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._timed.set_timeout()
        count = self._raw.readinto(buffer)
        self._timed.extend(count or 0)
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
            super().close()
