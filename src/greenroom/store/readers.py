"""The connections that read: a limited number, used again while they are sound. Must not know any database."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from greenroom.domain.errors import StoreOverloaded


class Closable(Protocol):
    def close(self) -> object: ...


C = TypeVar("C", bound=Closable)


class Readers(Generic[C]):
    """Lends each query a connection."""

    def __init__(
        self,
        connect: Callable[[], C],
        is_sound: Callable[[C], bool],
        end: Callable[[C], bool],
        *,
        readers_max: int,
        wait_s: float,
    ) -> None:
        """Open up to `readers_max` of them with `connect`; wait up to `wait_s` seconds for one that is free.

        `is_sound` tells of one that was idle whether it can be used again, and `end` of one that comes back, once what
        it was lent for has ended, whether it may be kept.
        """
        self._connect = connect
        self._is_sound = is_sound
        self._end = end
        self._readers_max = readers_max
        self._wait_s = wait_s
        self._places = threading.BoundedSemaphore(readers_max)
        self._idle: list[C] = []
        self.is_open = True

    @contextmanager
    def lend(self) -> Iterator[C]:
        """One connection, for this block alone. StoreOverloaded when none is free in time."""
        if not self._places.acquire(timeout=self._wait_s):
            raise StoreOverloaded(
                f"All {self._readers_max} readers of the store were busy for {self._wait_s:g} s.",
                "Nothing was done: send the request again after a pause.",
            )
        try:
            lent = self._take()
            try:
                yield lent
            finally:
                self._put_back(lent)
        finally:
            self._places.release()

    def close(self) -> None:
        """Close those that are idle now, and each other one when its query is done."""
        self.is_open = False
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> C:
        while True:
            try:
                idle = self._idle.pop()
            except IndexError:
                return self._connect()
            if self._is_sound(idle):
                return idle
            idle.close()

    def _put_back(self, lent: C) -> None:
        if self._end(lent) and self.is_open:
            self._idle.append(lent)
        else:
            lent.close()
