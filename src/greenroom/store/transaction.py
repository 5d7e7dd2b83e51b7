"""Runs statements for queries (`Reader`) and for mutations (`Transaction`), which also record events and callbacks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy.engine import Dialect

from greenroom.clock import Now
from greenroom.store.compiled_sql import CompiledStatement, Statement
from greenroom.store.engine import Cursor
from greenroom.store.read_cache import ReadCache

Row = tuple[Any, ...]


class RecordedEvent(NamedTuple):
    """An event without a number yet. `data` is encoded JSON, so that later changes of the original do not matter."""

    stream: str
    type: str
    cause: str
    data: str


class Reader:
    """A consistent snapshot of the store, valid until the query returns."""

    def __init__(self, cursor: Cursor, dialect: Dialect) -> None:
        self._cursor = cursor
        self._dialect = dialect
        self._end_reason: str | None = None
        self.statement_error: Exception | None = None

    def rows(self, statement: Statement, /, **params: object) -> list[Row]:
        """Run a statement that returns rows; each row is a tuple in the order of its columns."""
        compiled = self._compile(statement, gives_rows=True)
        self._run(self._cursor.execute, compiled.sql, compiled.arguments(params))
        return self._cursor.fetchall()

    def row(self, statement: Statement, /, **params: object) -> Row | None:
        """Run a statement that returns one row or none. Raises ValueError for more than one."""
        rows = self.rows(statement, **params)
        if len(rows) > 1:
            raise ValueError(f"{len(rows)} rows, expected at most one: {statement.compile_for(self._dialect).sql!r}")
        return rows[0] if rows else None

    def count_unwritten(self, stream: str) -> int:
        """How many events of a stream were recorded up to now and are not in the store yet. Always 0 for a query."""
        return 0

    def close(self, reason: str) -> None:
        """Refuse every further statement with RuntimeError(`reason`), so that a reader is not used after its query."""
        self._end_reason = reason

    def _compile(self, statement: Statement, gives_rows: bool) -> CompiledStatement:
        if self._end_reason is not None:
            raise RuntimeError(self._end_reason)
        compiled = statement.compile_for(self._dialect)
        if compiled.written_table is not None:
            self._prepare_write(compiled)
        if compiled.returns_rows is not gives_rows:
            raise TypeError(f"use {'rows() or row()' if compiled.returns_rows else 'change()'} for: {compiled.sql!r}")
        return compiled

    def _prepare_write(self, compiled: CompiledStatement) -> None:
        raise TypeError(f"a query only reads: run this in a mutation: {compiled.sql!r}")

    def _run(self, execute: Callable[..., object], sql: str, *arguments: object) -> None:
        try:
            execute(sql, *arguments)
        except Exception as error:
            self.statement_error = error
            self.close("a statement failed earlier in this transaction: let its error propagate")
            raise


class Transaction(Reader):
    """The statements, events and callbacks of one mutation, which count together or not at all.

    A failed statement fails the mutation, even if the mutation catches the error: on SQLite the error may have ended
    the whole transaction, and a later statement would commit on its own; PostgreSQL would refuse it anyway.
    """

    def __init__(
        self,
        cursor: Cursor,
        dialect: Dialect,
        now: Now,
        memory: ReadCache,
        unwritten: Callable[[str], int] = lambda stream: 0,
    ) -> None:
        """`unwritten` returns how many events of a stream earlier mutations of the batch recorded, not yet stored."""
        super().__init__(cursor, dialect)
        self.now = now
        self._memory = memory
        self._unwritten = unwritten
        self.commit_callbacks: list[Callable[[], None]] = []
        self.rollback_callbacks: list[Callable[[], None]] = []
        self._events: list[RecordedEvent] = []

    @property
    def events(self) -> Sequence[RecordedEvent]:
        """The events recorded so far."""
        return self._events

    def count_unwritten(self, stream: str) -> int:
        return self._unwritten(stream) + sum(event.stream == stream for event in self._events)

    def rows(self, statement: Statement, /, **params: object) -> list[Row]:
        table = statement.cached_table
        if table is None:
            return super().rows(statement, **params)
        cache_key = (statement, *params.items())
        rows = self._memory.get_rows(table, cache_key) if self._end_reason is None else None
        if rows is None:
            rows = super().rows(statement, **params)
            self._memory.store_rows(table, cache_key, rows)
        return [*rows]

    def execute(self, statement: Statement, /, **params: object) -> int:
        """Run a statement that writes and returns no rows; returns the number of rows it changed."""
        compiled = self._compile(statement, gives_rows=False)
        self._run(self._cursor.execute, compiled.sql, compiled.arguments(params))
        return self._cursor.rowcount

    def execute_many(self, statement: Statement, many: Iterable[Mapping[str, object]], /) -> int:
        """Run a statement that writes once for each set of parameters; returns the total number of changed rows."""
        compiled = self._compile(statement, gives_rows=False)
        arguments = [compiled.arguments(params) for params in many]
        if not arguments:
            return 0
        self._run(self._cursor.executemany, compiled.sql, arguments)
        return self._cursor.rowcount

    def execute_deferred(self, statement: Statement, /, **params: object) -> None:
        """Run a statement that must change exactly one row, without waiting for its result (deferred).

        Its error is raised by a later statement or after the mutation has returned. Either way the mutation fails.
        """
        compiled = self._compile(statement, gives_rows=False)
        self._run(self._cursor.execute_deferred, compiled.sql, (compiled.arguments(params),), 1)

    def execute_many_deferred(self, statement: Statement, many: Iterable[Mapping[str, object]], /) -> None:
        """As `execute_deferred`, once for each set of parameters; the statement may change any number of rows."""
        compiled = self._compile(statement, gives_rows=False)
        self._run(self._cursor.execute_deferred, compiled.sql, [compiled.arguments(params) for params in many], None)

    def record_event(self, stream: str, type: str, cause: str, data: Mapping[str, object]) -> None:
        """Record an event of this transaction. It gets its `pos` and `seq` when the mutation has returned."""
        self._events.append(RecordedEvent(stream, type, cause, msgspec.json.encode(data).decode()))

    def on_commit(self, effect: Callable[[], None]) -> None:
        """Call `effect` after the commit: in commit order, before the mutation's future is resolved."""
        self.commit_callbacks.append(effect)

    def on_rollback(self, amend: Callable[[], None]) -> None:
        """Call `amend` if this is not committed: the mutation raised, or its batch could not be committed."""
        self.rollback_callbacks.append(amend)

    def _prepare_write(self, compiled: CompiledStatement) -> None:
        assert compiled.written_table is not None
        self._memory.discard_table(compiled.written_table)
