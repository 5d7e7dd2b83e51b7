"""Pools the connections that read.

Options: `readers_max` connections; a query waits up to `wait_s` seconds for a free one, then StoreOverloaded.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from greenroom.domain.errors import StoreOverloaded


class Closable(Protocol):
    def close(self) -> object: ...


C = TypeVar("C", bound=Closable)


class ReadPool(Generic[C]):
    """A pool of read connections, opened on demand and reused while they are usable."""

    def __init__(
        self,
        connect: Callable[[], C],
        is_usable: Callable[[C], bool],
        end_transaction: Callable[[C], bool],
        *,
        readers_max: int,
        wait_s: float,
    ) -> None:
        """Open up to `readers_max` connections with `connect`; wait up to `wait_s` seconds for a free one.

        `is_usable` returns whether an idle connection can still be used. `end_transaction` ends the transaction of a
        returned connection, and returns whether the connection can be reused.
        """
        self._connect = connect
        self._is_sound = is_usable
        self._end_transaction = end_transaction
        self._readers_max = readers_max
        self._wait_s = wait_s
        self._slots = threading.BoundedSemaphore(readers_max)
        self._idle: list[C] = []
        self.is_open = True

    @contextmanager
    def acquire(self) -> Iterator[C]:
        """A connection for the duration of the block. Raises StoreOverloaded when none is free in time."""
        if not self._slots.acquire(timeout=self._wait_s):
            raise StoreOverloaded(
                f"All {self._readers_max} readers of the store were busy for {self._wait_s:g} s.",
                "Send the request again after a pause, or allow more readers with GREENROOM_READERS_MAX.",
            )
        try:
            connection = self._acquire()
            try:
                yield connection
            finally:
                self._release(connection)
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close idle connections now, and each of the others when its query has returned."""
        self.is_open = False
        while self._idle:
            self._idle.pop().close()

    def _acquire(self) -> C:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._connect()
            if self._is_sound(connection):
                return connection
            connection.close()

    def _release(self, connection: C) -> None:
        if self._end_transaction(connection) and self.is_open:
            self._idle.append(connection)
        else:
            connection.close()
