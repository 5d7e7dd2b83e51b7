"""PostgreSQL as an engine: one session that writes and has the lock, a few that read. Must not know any table."""

import logging
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

import psycopg
from sqlalchemy import MetaData
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import SQLAlchemyError

from greenroom.clock import Clock
from greenroom.domain.errors import AlreadyRunning
from greenroom.store import migrating
from greenroom.store.engine import CommitUnknown
from greenroom.store.migrating import unusable
from greenroom.store.postgres import outages
from greenroom.store.postgres.connection import Address, name_of_process
from greenroom.store.postgres.lock import Backend, ourselves, take_lock
from greenroom.store.postgres.session import Session
from greenroom.store.readers import Readers

logger = logging.getLogger("greenroom.store")

DIALECT: Final[Dialect] = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
VERSION_MIN: Final = 14
LOCK_WAIT_S: Final = 3.0
"""Seconds that a predecessor's session may take to go: PostgreSQL looks once a second whether its client is there."""


BACKENDS_KEPT: Final = 16
"""Sessions of ours, the last of them now, that may have got the lock without our hearing of it."""


class Away(NamedTuple):
    """That the database could not be reached: until when nobody need try again, and why."""

    until: float
    why: str


class Postgres:
    """A database that may go away and come back. Until it is back, everything fails at once; then it is used again."""

    dialect: Dialect = DIALECT
    begin_write = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
    begin_read = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        readers_max: int,
        wait_s: float,
        answer_s: float,
        lock_wait_s: float = LOCK_WAIT_S,
    ) -> None:
        """Wait up to `wait_s` seconds for one of `readers_max` sessions, up to `answer_s` for PostgreSQL's answer."""
        self.turn = threading.RLock()
        self.sessions = 0
        self.lost_to: str | None = None
        self._address = Address(url)
        self._clock = clock
        self._answer_s = answer_s
        self._lock_wait_s = lock_wait_s
        self._writer: Session | None = None
        self._backends = deque[Backend](maxlen=BACKENDS_KEPT)
        self._away: Away | None = None
        self._regaining: threading.Thread | None = None
        self._readers = Readers(
            self._open_reader,
            is_sound=lambda idle: idle.seems_sound() or idle.listen(),
            end=ended_whole,
            readers_max=readers_max,
            wait_s=wait_s,
        )

    # What is there.

    def prepare(self, tables: MetaData) -> None:
        place = f"The {self._address}"
        try:
            self._examine(self.writing())
            migrating.prepare(
                self,
                tables,
                name=place,
                way_out="Name a database that is empty or Greenroom's own: --database postgresql://...",
                connect=lambda: self._open("upgrade", {"statement_timeout": "0", "lock_timeout": "0"}).release(),
            )
        except (psycopg.Error, SQLAlchemyError, CommitUnknown) as error:
            raise unusable(f"{place} cannot be used: {outages.told(error)}.", outages.way_out_of(error)) from error

    def _examine(self, session: Session) -> None:
        """Refuse a database that could not keep what we promise."""
        session.execute(
            "SELECT current_setting('server_version_num')::bigint, current_setting('server_encoding'),"
            " current_schema()::text, current_setting('fsync')"
        )
        [(version, encoding, schema, fsync)] = session.fetchall()
        if version < VERSION_MIN * 10_000:
            raise unusable(
                f"The {self._address} is of PostgreSQL {version // 10_000}; Greenroom needs {VERSION_MIN} or newer.",
                "Upgrade PostgreSQL, or name another one with --database.",
            )
        if encoding != "UTF8":
            raise unusable(
                f"The {self._address} keeps text as {encoding}, which cannot hold every text.",
                "Create one for Greenroom: createdb --encoding UTF8 --template template0 DATABASE.",
            )
        if schema is None:
            raise unusable(
                f"The {self._address} has no schema that its search_path finds.",
                "Create the schema that search_path names, or put another one there: ALTER ROLE USER SET search_path.",
            )
        if fsync == "off":
            logger.warning("fsync is off in this PostgreSQL: a power cut can lose what was answered as done")

    # The session that writes.

    def writing(self) -> Session:
        writer = self._writer
        if writer is None or not (writer.seems_sound() or writer.listen()):
            self._drop_writer()
            writer = self._writer = self._open_writer()
        return writer

    def in_transaction(self) -> bool:
        return self._writer is not None and self._writer.in_transaction

    def abandon(self) -> None:
        if self._writer is not None:
            # Who keeps the session keeps the lock: nobody else comes in because of a statement that failed.
            with suppress(psycopg.Error):
                self._writer.end()
            if not self._writer.is_open:
                self._drop_writer()

    def keep_connected(self) -> None:
        """See to it that the writer has a session, without waiting: if not, a thread takes one up."""
        writer, thread = self._writer, self._regaining
        if (writer is None or not writer.seems_sound()) and (thread is None or not thread.is_alive()):
            self._regaining = threading.Thread(target=self._regain, name="regaining", daemon=True)
            self._regaining.start()

    def _regain(self) -> None:
        with self.turn, suppress(psycopg.Error, AlreadyRunning):
            if self._readers.is_open and not (self._writer is not None and self._writer.listen()):
                self.writing()

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open_writer(self) -> Session:
        if self.lost_to is not None:
            raise AlreadyRunning(self.lost_to, "Start the server again.")
        session = self._open("server")
        try:
            # Known before it may have the lock: a line may break that has just carried our asking for it.
            self._backends.append(ourselves(session))
            take_lock(session, self._backends, self._lock_wait_s, f"the {self._address}")
        except AlreadyRunning as error:
            self.lost_to = error.detail
            session.close()
            raise
        except BaseException:
            session.close()
            raise
        self.sessions += 1
        return session

    # The sessions that read.

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with self._readers.lend() as session:
            session.execute(self.begin_read)
            yield session

    def _open_reader(self) -> Session:
        return self._open("reader", {"default_transaction_read_only": "on"})

    # Any session.

    def is_outage(self, error: BaseException) -> bool:
        return outages.is_outage(error)

    def close(self) -> None:
        """Close every connection. The lock goes with the writer's."""
        self._readers.close()
        with self.turn:  # a thread may be taking up a session just now
            self._drop_writer()

    def _open(self, what: str, settings: Mapping[str, str] | None = None) -> Session:
        """Open a session, or fail as the last attempt did: after one that took long, nobody tries for as long again."""
        away, began_at = self._away, self._clock.monotonic()
        if away is not None and began_at < away.until:
            raise psycopg.OperationalError(away.why)
        try:
            session = self._address.connect(name_of_process(what), self._answer_s, self._fall_silent, settings=settings)
        except psycopg.OperationalError as error:
            self._leave(error, self._clock.monotonic() - began_at)
            raise
        if self._away is not None and self.sessions:
            logger.warning("the %s is back", self._address)
        self._away = None
        return session

    def _fall_silent(self, error: psycopg.OperationalError) -> None:
        """A session was given up: whoever comes next need not wait as long to find the same."""
        self._leave(error, self._answer_s)

    def _leave(self, error: psycopg.OperationalError, for_s: float) -> None:
        if self._away is None and self.sessions:
            logger.error("the %s is away: %s", self._address, outages.told(error))
        self._away = Away(self._clock.monotonic() + for_s, outages.told(error))


def ended_whole(session: Session) -> bool:
    """End what a session was used for; whether it is as it was before."""
    try:
        session.end()
    except psycopg.Error:
        session.close()
    return session.is_open
