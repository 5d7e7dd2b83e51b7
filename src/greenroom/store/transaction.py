"""What a query and a mutation are handed: a place to run statements. Must not know how a transaction begins or ends."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy.engine import Dialect

from greenroom.clock import Now
from greenroom.store.engine import Cursor
from greenroom.store.memory import Memory
from greenroom.store.statement import Spelling, Statement

Row = tuple[Any, ...]


class Recorded(NamedTuple):
    """An event that has no number yet. Its data is JSON already, so that no later change of it gets in."""

    stream: str
    type: str
    cause: str
    data: str


class Reader:
    """A consistent view of the store, good until the query returns."""

    def __init__(self, cursor: Cursor, dialect: Dialect) -> None:
        self._cursor = cursor
        self._dialect = dialect
        self._over: str | None = None
        self.failure: Exception | None = None

    def rows(self, statement: Statement, /, **params: object) -> list[Row]:
        """Run a statement that gives rows; each is a tuple in the order of its columns."""
        spelling = self._permitted(statement, gives_rows=True)
        self._run(self._cursor.execute, spelling.sql, spelling.arguments(params))
        return self._cursor.fetchall()

    def row(self, statement: Statement, /, **params: object) -> Row | None:
        """Run a statement that gives one row or none. More than one is an error: the question was not exact."""
        rows = self.rows(statement, **params)
        if len(rows) > 1:
            raise ValueError(f"{len(rows)} rows where at most one can be: {statement.spelled(self._dialect).sql!r}")
        return rows[0] if rows else None

    def unwritten(self, stream: str) -> int:
        """How many events of a stream come before this moment, and yet are not in the store."""
        return 0

    def end(self, why: str) -> None:
        """Refuse every further statement, saying why. A reader that leaks out of its query is of no use to anybody."""
        self._over = why

    def _permitted(self, statement: Statement, gives_rows: bool) -> Spelling:
        if self._over is not None:
            raise RuntimeError(self._over)
        spelling = statement.spelled(self._dialect)
        if spelling.written is not None:
            self._begin_write(spelling)
        if spelling.returns_rows is not gives_rows:
            raise TypeError(f"use {'rows() or row()' if spelling.returns_rows else 'change()'} for {spelling.sql!r}")
        return spelling

    def _begin_write(self, spelling: Spelling) -> None:
        raise TypeError(f"a query only reads; do this in a mutation: {spelling.sql!r}")

    def _run(self, run: Callable[..., object], sql: str, *arguments: object) -> None:
        try:
            run(sql, *arguments)
        except Exception as error:
            self.failure = error
            self.end("a statement failed earlier in this transaction: let its error out instead of going on")
            raise


class Transaction(Reader):
    """What one mutation does: statements, events and effects that come to be together or not at all.

    A failed statement ends the mutation, whether or not it catches the error: on SQLite the error may have ended the
    whole transaction, and a statement after it would commit by itself; PostgreSQL would refuse it anyway.
    """

    def __init__(
        self,
        cursor: Cursor,
        dialect: Dialect,
        now: Now,
        memory: Memory,
        unwritten: Callable[[str], int] = lambda stream: 0,
    ) -> None:
        """`unwritten` counts the events of a stream that came before this mutation and are not in the store yet."""
        super().__init__(cursor, dialect)
        self.now = now
        self._memory = memory
        self._unwritten = unwritten
        self.effects: list[Callable[[], None]] = []
        self.amends: list[Callable[[], None]] = []
        self._events: list[Recorded] = []

    @property
    def events(self) -> Sequence[Recorded]:
        """What was recorded so far."""
        return self._events

    def unwritten(self, stream: str) -> int:
        return self._unwritten(stream) + sum(event.stream == stream for event in self._events)

    def rows(self, statement: Statement, /, **params: object) -> list[Row]:
        table = statement.kept_of
        if table is None:
            return super().rows(statement, **params)
        question = (statement, *params.items())
        rows = self._memory.rows(table, question) if self._over is None else None
        if rows is None:
            rows = super().rows(statement, **params)
            self._memory.keep(table, question, rows)
        return [*rows]

    def change(self, statement: Statement, /, **params: object) -> int:
        """Run a statement that writes and gives no rows; the number of rows it touched."""
        spelling = self._permitted(statement, gives_rows=False)
        self._run(self._cursor.execute, spelling.sql, spelling.arguments(params))
        return self._cursor.rowcount

    def change_many(self, statement: Statement, many: Iterable[Mapping[str, object]], /) -> int:
        """Run a statement that writes once for each set of parameters; the number of rows touched by all."""
        spelling = self._permitted(statement, gives_rows=False)
        arguments = [spelling.arguments(params) for params in many]
        if not arguments:
            return 0
        self._run(self._cursor.executemany, spelling.sql, arguments)
        return self._cursor.rowcount

    def put(self, statement: Statement, /, **params: object) -> None:
        """Run a statement that writes one row, and go on without waiting for it.

        That it failed is told by a later statement, or when the mutation has returned, and ends that in either case.
        """
        spelling = self._permitted(statement, gives_rows=False)
        self._run(self._cursor.put, spelling.sql, (spelling.arguments(params),), 1)

    def put_many(self, statement: Statement, many: Iterable[Mapping[str, object]], /) -> None:
        """Run a statement that writes once for each set of parameters, likewise; it may touch any number of rows."""
        spelling = self._permitted(statement, gives_rows=False)
        self._run(self._cursor.put, spelling.sql, [spelling.arguments(params) for params in many], None)

    def record(self, stream: str, type: str, cause: str, data: Mapping[str, object]) -> None:
        """Record an event of this transaction. It gets its numbers when the mutation has returned."""
        self._events.append(Recorded(stream, type, cause, msgspec.json.encode(data).decode()))

    def after_commit(self, effect: Callable[[], None]) -> None:
        """Have `effect` run once this is durable: in commit order, before anybody is answered."""
        self.effects.append(effect)

    def if_abandoned(self, amend: Callable[[], None]) -> None:
        """Have `amend` run if this comes to nothing: the mutation raised, or its batch could not be committed."""
        self.amends.append(amend)

    def _begin_write(self, spelling: Spelling) -> None:
        assert spelling.written is not None
        self._memory.forget_table(spelling.written)
