"""The sessions that read: a limited number, used again while they are sound. Must not know what is read."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from greenroom.domain.errors import StoreOverloaded
from greenroom.store.postgres.session import Session

BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class Readers:
    """Lends each query a session, in a transaction that sees one moment."""

    def __init__(self, connect: Callable[[], Session], *, readers_max: int, wait_s: float) -> None:
        """Open up to `readers_max` sessions with `connect`; wait up to `wait_s` seconds for one that is free."""
        self._connect = connect
        self._readers_max = readers_max
        self._wait_s = wait_s
        self._places = threading.BoundedSemaphore(readers_max)
        self._idle: list[Session] = []
        self.is_open = True

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One read transaction. StoreOverloaded when no session is free in time."""
        if not self._places.acquire(timeout=self._wait_s):
            raise StoreOverloaded(
                f"All {self._readers_max} readers of the store were busy for {self._wait_s:g} s.",
                "Nothing was done: send the request again after a pause.",
            )
        try:
            session = self._take()
            try:
                session.execute(BEGIN)
                yield session
            finally:
                self._put_back(session)
        finally:
            self._places.release()

    def close(self) -> None:
        """Close the sessions that are idle now, and each other one when its query is done."""
        self.is_open = False
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> Session:
        while True:
            try:
                session = self._idle.pop()
            except IndexError:
                return self._connect()
            if session.seems_sound() or session.listen():
                return session
            session.close()

    def _put_back(self, session: Session) -> None:
        try:
            session.end()
        except psycopg.Error:
            session.close()
        if session.is_open and self.is_open:
            self._idle.append(session)
        else:
            session.close()
