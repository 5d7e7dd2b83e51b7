"""The SQLite engine: a database in a file (WAL mode) or in memory.

Options: `readers_max` read connections; `wait_s` seconds to wait for a free one, and for a lock of another process.
Limits: the file must be on a local disk, since WAL mode needs shared memory.
"""

import errno
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from sqlalchemy import MetaData
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Dialect

from greenroom.domain.errors import StoreUnavailable
from greenroom.private_files import open_private
from greenroom.store.engine import RowCountMismatch
from greenroom.store.migrations import runner
from greenroom.store.migrations.runner import store_unusable_error
from greenroom.store.read_pool import ReadPool

logger = logging.getLogger("greenroom.store.sqlite")

DIALECT: Final[Dialect] = sqlite.dialect(paramstyle="qmark")
CACHED_STATEMENTS_MAX: Final = 512
"""How many prepared statements a connection keeps: more than the store has."""

OUTAGE_CODES: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)


TEMPORARY_CODES: Final = OUTAGE_CODES - {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
"""The outages that pass without a change to the file or its permissions."""
TEMPORARY_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class DatabaseFileLost(Exception):
    """The database's file, or its log, was removed or replaced: what is written now would be lost."""


class SqliteCursor(sqlite3.Cursor):
    """A cursor that runs deferred statements at once: the database is in this process, so there is no round trip."""

    def execute_deferred(self, sql: str, many: Sequence[Sequence[Any]], rows: int | None = None) -> None:
        self.executemany(sql, many)
        if rows not in (None, self.rowcount):
            raise RowCountMismatch(f"{self.rowcount} rows instead of {rows} by {sql!r}")

    def flush(self) -> None:
        """Do nothing: no statement is deferred."""


class SqliteEngine:
    """The common part of SqliteFile and SqliteMemory: the writer's connection."""

    dialect: Dialect = DIALECT
    begin_write_sql = "BEGIN IMMEDIATE"
    taken_over_by = None  # greenroom.file_lock locks a file beside the database
    lost_files: str | None = None
    savepoints_max = None

    def __init__(self) -> None:
        self.write_lock = threading.RLock()
        self.writer_sessions = 0
        self._writer: sqlite3.Connection | None = None

    def writer_cursor(self) -> SqliteCursor:
        if self._writer is None:
            self._writer = self._connect()
            self.writer_sessions += 1
        return self._writer.cursor(SqliteCursor)

    def ensure_connected(self) -> None:
        """Do nothing: the connection to a file is not lost."""

    def in_transaction(self) -> bool:
        return self._writer is not None and self._writer.in_transaction

    def is_outage(self, error: BaseException) -> bool:
        # Extended codes keep the primary code in their lowest byte.
        if isinstance(error, DatabaseFileLost):
            return True
        return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in OUTAGE_CODES

    def _connect(self) -> sqlite3.Connection:
        raise NotImplementedError


class SqliteFileEngine(SqliteEngine):
    """A database file in WAL mode: the writer and the readers do not wait for each other."""

    def __init__(self, path: Path, *, readers_max: int, wait_s: float) -> None:
        """Wait up to `wait_s` seconds for one of `readers_max` read connections, and for a lock of another process."""
        super().__init__()
        self._path = path
        self._wait_s = wait_s
        self._files: dict[Path, tuple[int, int]] = {}
        """Device and inode of the database and its log, while this engine has them open."""
        self._keeper: sqlite3.Connection | None = None
        """Never closed before the engine: SQLite removes the log with the last connection."""
        self._readers = ReadPool(
            self._open_reader,
            is_usable=lambda connection: True,
            # A connection whose transaction could not be ended is broken.
            end_transaction=lambda connection: not connection.in_transaction,
            readers_max=readers_max,
            wait_s=wait_s,
        )

    def prepare_schema(self, tables: MetaData) -> None:
        alternative = "choose another --data-dir."
        try:
            # Created here with mode 0600, because SQLite would make it readable for all; -wal and -shm get its mode.
            os.close(open_private(self._path, os.O_CREAT | os.O_RDWR))
            runner.prepare_schema(
                self,
                tables,
                name=str(self._path),
                guidance=alternative.capitalize(),
                connect=lambda: connect(str(self._path), self._wait_s),
                make_copy=self._keep_copy,
            )
            self._keeper = self._open_reader()
            self._keeper.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except (OSError, sqlite3.Error) as error:
            detail = f"Cannot open {self._path}: {error}."
            if is_temporary(error, self._path.parent):
                raise StoreUnavailable(detail, "Free some space on its disk, or check that disk.") from error
            guidance = f"Nothing was changed. Check the file and its disk, or {alternative}"
            raise store_unusable_error(detail, guidance) from error
        self._files = {path: read_identity(path) for path in (self._path, Path(f"{self._path}-wal"))}

    @property
    def lost_files(self) -> str | None:  # type: ignore[override]
        for path, identity in self._files.items():
            try:
                if read_identity(path) != identity:
                    return f"The database was lost: {path} was replaced."
            except OSError as error:
                return f"The database was lost: {path}: {error.strerror}."
        return None

    def writer_cursor(self) -> SqliteCursor:
        if (lost := self.lost_files) is not None:
            raise DatabaseFileLost(lost)
        return super().writer_cursor()

    def _keep_copy(self, revision: str) -> None:
        """Copy the file before it is upgraded to `revision`. The copy gets its name only when it is complete."""
        copy = self._path.with_name(f"{self._path.name}.before-{revision}")
        partial_copy = copy.with_name(f"{copy.name}.begun")
        partial_copy.unlink(missing_ok=True)
        os.close(open_private(partial_copy, os.O_CREAT | os.O_EXCL))
        try:
            with closing(connect(str(partial_copy), self._wait_s)) as destination:
                self.writer_cursor().connection.backup(destination)
            os.replace(partial_copy, copy)
        finally:
            partial_copy.unlink(missing_ok=True)
        logger.info("database copied before the upgrade: %s: to %s", self._path, copy)

    def rollback(self) -> None:
        if self._writer is not None:
            # Closing is not enough: while an error's traceback keeps a statement alive, the lock is held too.
            with suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
            with suppress(sqlite3.Error):
                self._writer.close()
            self._writer = None

    @contextmanager
    def read_transaction(self) -> Iterator[SqliteCursor]:
        with self._readers.acquire() as connection, read_transaction(connection) as cursor:
            yield cursor

    def close(self) -> None:
        self._files.clear()
        self._readers.close()
        self.rollback()
        if self._keeper is not None:
            self._keeper.close()

    def _open_reader(self) -> sqlite3.Connection:
        connection = self._connect()
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = connect(str(self._path), self._wait_s)
        try:
            # FULL, because a committed reply must survive a power cut; group commit makes up for the cost.
            for pragma in ("synchronous = FULL", "foreign_keys = ON"):
                connection.execute(f"PRAGMA {pragma}")
            [mode] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise store_unusable_error(
                    f"{self._path} is on a file system without shared memory (journal mode {mode}).",
                    "Choose a --data-dir on a local disk.",
                )
        except BaseException:
            connection.close()
            raise
        return connection


class SqliteMemoryEngine(SqliteEngine):
    """A database in memory, with one connection that readers and the writer share in turns. Lost on close."""

    def prepare_schema(self, tables: MetaData) -> None:
        # Loading an image is two hundred times faster than creating the tables, so each test can have its own store.
        self.writer_cursor().connection.deserialize(create_empty_image(tables, frozenset(tables.tables)))

    def rollback(self) -> None:
        if self.in_transaction():
            with suppress(sqlite3.Error):
                self.writer_cursor().execute("ROLLBACK")

    @contextmanager
    def read_transaction(self) -> Iterator[SqliteCursor]:
        with self.write_lock:
            if self.in_transaction():
                raise RuntimeError("a mutation must read through its own transaction, not through the store")
            with read_transaction(self.writer_cursor().connection) as cursor:
                yield cursor

    def close(self) -> None:
        with self.write_lock:
            if self._writer is not None:
                self._writer.close()

    def _connect(self) -> sqlite3.Connection:
        connection = connect(":memory:", 0.0)
        connection.execute("PRAGMA foreign_keys = ON")
        return connection


def is_temporary(error: OSError | sqlite3.Error, folder: Path) -> bool:
    """Whether an error at the start passes without a change to the file: the disk is full, or another process reads."""
    if isinstance(error, OSError):
        return error.errno in TEMPORARY_ERRNOS
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in TEMPORARY_CODES or (code == sqlite3.SQLITE_CANTOPEN and is_full(folder))


def is_full(folder: Path) -> bool:
    """Whether no file can be created on a folder's disk: SQLite calls that a file that cannot be opened."""
    with suppress(OSError):
        disk = os.statvfs(folder)
        return disk.f_bavail == 0 or (disk.f_files > 0 and disk.f_favail == 0)
    return False


def read_identity(path: Path) -> tuple[int, int]:
    """The device and inode of a file. Raises OSError if there is none."""
    status = path.stat()
    return status.st_dev, status.st_ino


def connect(database: str, wait_s: float) -> sqlite3.Connection:
    # With `isolation_level=None` the driver begins no transactions by itself.
    return sqlite3.connect(
        database, timeout=wait_s, isolation_level=None, check_same_thread=False, cached_statements=CACHED_STATEMENTS_MAX
    )


@contextmanager
def read_transaction(connection: sqlite3.Connection) -> Iterator[SqliteCursor]:
    """One consistent snapshot, from the first statement to the end of the block."""
    cursor = connection.cursor(SqliteCursor)
    cursor.execute("BEGIN")
    try:
        yield cursor
    finally:
        with suppress(sqlite3.Error):
            cursor.execute("ROLLBACK")


@lru_cache(maxsize=8)
def create_empty_image(tables: MetaData, names: frozenset[str]) -> bytes:
    """The bytes of an empty database with these tables. `names` makes the cache notice tables that were added since."""
    with closing(connect(":memory:", 0.0)) as connection:
        runner.create_schema(connection.cursor(SqliteCursor), DIALECT, SqliteEngine.begin_write_sql, tables)
        return connection.serialize()
