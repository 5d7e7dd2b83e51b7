"""The port to a database: all that differs between SQLite and PostgreSQL. Must not know mutations, events or tables."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import MetaData
from sqlalchemy.engine import Dialect


class CommitUnknown(Exception):
    """COMMIT was sent and not answered: only the store itself can tell whether it was done, once it can be asked."""


class RowsDiffer(Exception):
    """A statement touched another number of rows than it must: something is not as it was when it was read."""


class Cursor(Protocol):
    """What we use of a driver's cursor, and statements that nobody waits for."""

    @property
    def rowcount(self) -> int: ...

    def execute(self, sql: str, arguments: Sequence[Any] = (), /) -> object: ...

    def executemany(self, sql: str, many: Sequence[Sequence[Any]], /) -> object: ...

    def fetchall(self) -> list[Any]: ...

    def put(self, sql: str, many: Sequence[Sequence[Any]], rows: int | None = None, /) -> None:
        """Run a statement that writes, once for each set of arguments and in its turn, without waiting for it.

        That it failed may be told by any call that comes after it; RowsDiffer, that all in all it did not touch `rows`.
        A ROLLBACK undoes it whether or not it has been run.
        """
        ...

    def settle(self) -> None:
        """Wait until all that was put is done, and raise what it failed with."""
        ...


class Engine(Protocol):
    """One database with one writer and a limited number of readers."""

    @property
    def dialect(self) -> Dialect:
        """How statements are spelled; its parameter style must be a positional one."""
        ...

    @property
    def begin_write(self) -> str:
        """The statement that begins a transaction that is going to write."""
        ...

    @property
    def sessions(self) -> int:
        """How many sessions the writer has had. With each new one, somebody else may have been there in between."""
        ...

    @property
    def lost_to(self) -> str | None:
        """Who has taken the store from us, in words; None while it is ours."""
        ...

    @property
    def turn(self) -> AbstractContextManager[Any]:
        """Held by whoever writes, from before the transaction until after its effects."""
        ...

    def prepare(self, tables: MetaData) -> None:
        """Create the tables in an empty database; raise ConfigurationError for one that we cannot use."""
        ...

    def writing(self) -> Cursor:
        """A cursor on the writer's session, which is opened if there is none. It commits by itself outside BEGIN.

        Nobody else can write while it lasts. Raises AlreadyRunning when somebody else has the store. A COMMIT that was
        not answered is CommitUnknown.
        """
        ...

    def keep_connected(self) -> None:
        """See to it that the writer has a session, also while nobody writes. Returns at once; never raises."""
        ...

    def in_transaction(self) -> bool:
        """Tell whether the writer's transaction still stands: some errors end it without being asked."""
        ...

    def abandon(self) -> None:
        """Undo the writer's transaction, whatever its state; `writing` is clean after it. Never raises."""
        ...

    def reading(self) -> AbstractContextManager[Cursor]:
        """One read transaction on a connection that cannot write. StoreOverloaded when none is free in time."""
        ...

    def is_outage(self, error: BaseException) -> bool:
        """Tell whether the database or its disk failed, as against a statement that was wrong."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...
