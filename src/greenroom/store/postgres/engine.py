"""The PostgreSQL engine: one session that writes and holds the lock, and a pool of sessions that read.

Options: `readers_max` read sessions; `wait_s` seconds to wait for a free one; `answer_timeout_s` seconds without an
answer after which a session is closed; `lock_wait_s` seconds to wait for another server's lock.
Limits: PostgreSQL 14 or newer, and a database in UTF8. During an outage calls fail without waiting: after a failed
connection attempt, or a session that did not answer, no new connection is tried for as long again as that took.
"""

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
from greenroom.domain.errors import AlreadyRunning, StoreUnavailable
from greenroom.store.engine import CommitInDoubt
from greenroom.store.migrations import runner
from greenroom.store.migrations.runner import store_unusable_error
from greenroom.store.postgres import connection
from greenroom.store.postgres.advisory_lock import Backend, acquire_lock, current_backend
from greenroom.store.postgres.connection import DatabaseAddress, application_name
from greenroom.store.postgres.pipeline import PostgresSession
from greenroom.store.read_pool import ReadPool

logger = logging.getLogger("greenroom.store.postgres.engine")

DIALECT: Final[Dialect] = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
POSTGRES_VERSION_MIN: Final = 14
LOCK_WAIT_S: Final = 3.0
"""Seconds to wait for a former server's session to end: PostgreSQL checks once a second whether its client exists."""

SAVEPOINTS_MAX: Final = 60
"""PostgreSQL keeps 64 subtransactions of a session in shared memory. If one has more, any query may become slow, since
it has to look up on disk which of them belong to a transaction in progress."""
BACKENDS_MAX: Final = 16
"""How many writer sessions are remembered, the current one last: one may hold the lock although its answer was lost."""


class Outage(NamedTuple):
    """An outage: until when (on the monotonic clock) no new connection is tried, and why."""

    until: float
    reason: str


class PostgresEngine:
    """A database that may be unavailable for a time: calls fail at once until it can be reached again."""

    dialect: Dialect = DIALECT
    begin_write_sql = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
    begin_read_sql = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    savepoints_max = SAVEPOINTS_MAX

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        readers_max: int,
        wait_s: float,
        answer_timeout_s: float,
        lock_wait_s: float = LOCK_WAIT_S,
    ) -> None:
        """Wait up to `wait_s` seconds for one of `readers_max` sessions, and up to `answer_timeout_s` for an answer."""
        self.write_lock = threading.RLock()
        self.writer_sessions = 0
        self.taken_over_by: str | None = None
        self.lost_files = None  # it watches its files itself
        self._address = DatabaseAddress(url)
        self._clock = clock
        self._answer_s = answer_timeout_s
        self._lock_wait_s = lock_wait_s
        self._writer: PostgresSession | None = None
        self._backends = deque[Backend](maxlen=BACKENDS_MAX)
        self._outage: Outage | None = None
        self._reconnect_thread: threading.Thread | None = None
        self._readers = ReadPool(
            self._open_reader,
            is_usable=lambda idle: idle.looks_usable() or idle.read_notices(),
            end_transaction=end_session,
            readers_max=readers_max,
            wait_s=wait_s,
        )

    # The database.

    def prepare_schema(self, tables: MetaData) -> None:
        name = f"The {self._address}"
        try:
            self._check_database(self.writer_cursor())
            runner.prepare_schema(
                self,
                tables,
                name=name,
                guidance="Name an empty database, or Greenroom's: --database postgresql://USER@HOST:5432/DATABASE.",
                connect=lambda: self._open("upgrade", {"statement_timeout": "0", "lock_timeout": "0"}).detach(),
            )
        except (psycopg.Error, SQLAlchemyError, CommitInDoubt) as error:
            detail, advice = f"{name} cannot be used: {connection.format_error(error)}.", connection.advice_for(error)
            if isinstance(error, CommitInDoubt) or (advice.is_temporary and connection.is_outage(error)):
                raise StoreUnavailable(detail, advice.guidance) from error
            raise store_unusable_error(detail, advice.guidance) from error

    def _check_database(self, session: PostgresSession) -> None:
        """Refuse a database that cannot store what Greenroom promises to keep. Raises ConfigurationError."""
        session.execute(
            "SELECT current_setting('server_version_num')::bigint, current_setting('server_encoding'),"
            " current_schema()::text, current_setting('fsync')"
        )
        [(version, encoding, schema, fsync)] = session.fetchall()
        if version < POSTGRES_VERSION_MIN * 10_000:
            raise store_unusable_error(
                f"The {self._address} runs on PostgreSQL {version // 10_000}; Greenroom needs {POSTGRES_VERSION_MIN} "
                "or newer.",
                "Upgrade PostgreSQL, or name another one with --database.",
            )
        if encoding != "UTF8":
            raise store_unusable_error(
                f"The {self._address} has the encoding {encoding}, which cannot store every text.",
                "Create one for Greenroom: createdb --encoding UTF8 --template template0 DATABASE.",
            )
        if schema is None:
            raise store_unusable_error(
                f"The {self._address} has no schema of those that search_path names.",
                "Create one of them (CREATE SCHEMA NAME), or change it: ALTER ROLE USER SET search_path = NAME.",
            )
        if fsync == "off":
            logger.warning("fsync is off: %s: a power cut can lose committed changes", self._address)

    # The session that writes.

    def writer_cursor(self) -> PostgresSession:
        writer = self._writer
        if writer is None or not (writer.looks_usable() or writer.read_notices()):
            self._drop_writer()
            writer = self._writer = self._open_writer()
        return writer

    def in_transaction(self) -> bool:
        return self._writer is not None and self._writer.in_transaction

    def rollback(self) -> None:
        if self._writer is not None:
            # The session stays open and keeps the lock: a failed statement must not release it to another server.
            with suppress(psycopg.Error):
                self._writer.rollback()
            if not self._writer.is_open:
                self._drop_writer()

    def ensure_connected(self) -> None:
        """Make sure that the writer has a session, without waiting: if it has none, a thread opens one."""
        writer, thread = self._writer, self._reconnect_thread
        if (writer is None or not writer.looks_usable()) and (thread is None or not thread.is_alive()):
            self._reconnect_thread = threading.Thread(target=self._reconnect, name="reconnect", daemon=True)
            self._reconnect_thread.start()

    def _reconnect(self) -> None:
        with self.write_lock, suppress(psycopg.Error, AlreadyRunning):
            if self._readers.is_open and not (self._writer is not None and self._writer.read_notices()):
                self.writer_cursor()

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open_writer(self) -> PostgresSession:
        if self.taken_over_by is not None:
            raise AlreadyRunning(self.taken_over_by, "This server has stopped writing. Start it again.")
        session = self._open("server")
        try:
            # Recorded before the lock is requested: the connection may break after PostgreSQL has granted it.
            self._backends.append(current_backend(session))
            acquire_lock(session, self._backends, self._lock_wait_s, f"the {self._address}")
        except AlreadyRunning as error:
            self.taken_over_by = error.detail
            session.close()
            raise
        except BaseException:
            session.close()
            raise
        self.writer_sessions += 1
        return session

    # The sessions that read.

    @contextmanager
    def read_transaction(self) -> Iterator[PostgresSession]:
        with self._readers.acquire() as session:
            session.execute(self.begin_read_sql)
            yield session

    def _open_reader(self) -> PostgresSession:
        return self._open("reader", {"default_transaction_read_only": "on"})

    # Any session.

    def is_outage(self, error: BaseException) -> bool:
        return connection.is_outage(error)

    def close(self) -> None:
        """Close every connection. Closing the writer's session releases the lock."""
        self._readers.close()
        with self.write_lock:  # a thread may be opening a session now
            self._drop_writer()

    def _open(self, purpose: str, settings: Mapping[str, str] | None = None) -> PostgresSession:
        """Open a session, or fail at once with the error of the last attempt, for as long again as that one took."""
        outage, began_at = self._outage, self._clock.monotonic()
        if outage is not None and began_at < outage.until:
            raise psycopg.OperationalError(outage.reason)
        try:
            session = self._address.connect(
                application_name(purpose), self._answer_s, self._record_silence, settings=settings
            )
        except psycopg.OperationalError as error:
            self._record_outage(error, self._clock.monotonic() - began_at)
            raise
        if self._outage is not None and self.writer_sessions:
            logger.warning("available again: %s", self._address)
        self._outage = None
        return session

    def _record_silence(self, error: psycopg.OperationalError) -> None:
        """Record an outage when a session did not answer, so that the next calls fail without waiting as long."""
        self._record_outage(error, self._answer_s)

    def _record_outage(self, error: psycopg.OperationalError, duration_s: float) -> None:
        if self._outage is None and self.writer_sessions:
            logger.error("unavailable: %s: %s", self._address, connection.format_error(error))
        self._outage = Outage(self._clock.monotonic() + duration_s, connection.format_error(error))


def end_session(session: PostgresSession) -> bool:
    """End the transaction of a session; whether the session can be used again."""
    try:
        session.rollback()
    except psycopg.Error:
        session.close()
    return session.is_open
