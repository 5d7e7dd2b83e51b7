"""Defines the interface to a database: everything that differs between SQLite and PostgreSQL.

The adapters are `greenroom.store.sqlite` and `greenroom.store.postgres.engine`.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import MetaData
from sqlalchemy.engine import Dialect


class CommitInDoubt(Exception):
    """COMMIT was sent and not answered: only the database knows whether it committed, once it can be queried again."""


class RowCountMismatch(Exception):
    """A statement changed a different number of rows than required: a row is not as it was when it was read."""


class Cursor(Protocol):
    """The part of a driver's cursor that the store uses, and deferred statements."""

    @property
    def rowcount(self) -> int: ...

    def execute(self, sql: str, arguments: Sequence[Any] = (), /) -> object: ...

    def executemany(self, sql: str, many: Sequence[Sequence[Any]], /) -> object: ...

    def fetchall(self) -> list[Any]: ...

    def execute_deferred(self, sql: str, many: Sequence[Sequence[Any]], rows: int | None = None, /) -> None:
        """Run a statement that writes, once for each set of arguments, in order, without waiting for its result.

        Any later call may raise its error, or RowsDiffer if it did not change `rows` rows in total.
        A ROLLBACK undoes it whether or not it has run yet.
        """
        ...

    def flush(self) -> None:
        """Wait until all deferred statements have run, and raise their first error."""
        ...


class Engine(Protocol):
    """One database with one writer and a limited number of readers."""

    @property
    def dialect(self) -> Dialect:
        """The SQL dialect that statements are compiled for; its parameter style must be positional."""
        ...

    @property
    def begin_write_sql(self) -> str:
        """The statement that begins a write transaction."""
        ...

    @property
    def writer_sessions(self) -> int:
        """How many sessions the writer has had. Between two of them another process may have written."""
        ...

    @property
    def taken_over_by(self) -> str | None:
        """Which server took the store over, as an error text; None while this process holds it."""
        ...

    @property
    def lost_files(self) -> str | None:
        """Which file of the database was removed or replaced, as an error text; None while all are in place."""
        ...

    @property
    def savepoints_max(self) -> int | None:
        """How many savepoints one transaction may have without slowing the database down; None for any number."""
        ...

    @property
    def write_lock(self) -> AbstractContextManager[Any]:
        """The lock that a thread holds to write, from before the transaction until after its callbacks."""
        ...

    def prepare_schema(self, tables: MetaData) -> None:
        """Create the tables in an empty database or upgrade an older one.

        Raises ConfigurationError for what a person must mend, and StoreUnavailable for what passes by itself.
        """
        ...

    def writer_cursor(self) -> Cursor:
        """A cursor on the writer's session, in autocommit mode outside of BEGIN. Opens a session if there is none.

        No other process can write while the session lasts. Raises AlreadyRunning when another server holds the store.
        A COMMIT that was not answered raises CommitUnknown.
        """
        ...

    def ensure_connected(self) -> None:
        """Make sure that the writer has a session, also while nothing is written. Returns at once; never raises."""
        ...

    def in_transaction(self) -> bool:
        """Whether the writer's transaction is still open: some errors end it implicitly."""
        ...

    def rollback(self) -> None:
        """Roll back the writer's transaction, whatever its state; `writer_cursor` is clean afterwards. Never raises."""
        ...

    def read_transaction(self) -> AbstractContextManager[Cursor]:
        """One read transaction on a connection that cannot write. StoreOverloaded when none is free in time."""
        ...

    def is_outage(self, error: BaseException) -> bool:
        """Whether the database or its disk failed, as opposed to an invalid statement."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...
