"""Stores former attempts at tasks (the participant that had each) and late results."""

from sqlalchemy import Column, Index, Named, Table, TypedColumns, bindparam, delete, func, insert, select

from greenroom.domain.task import LateResult
from greenroom.store.records import binds, fields_of, read_as
from greenroom.store.schema import INTEGER, STRICT, TEXT, metadata
from greenroom.store.statement import Statement
from greenroom.store.transaction import Reader, Transaction


class AttemptColumns(TypedColumns):
    """The participant of an attempt that another one followed, and when it ended. The task has its current attempt."""

    task: Named[str] = Column(TEXT, primary_key=True)
    attempt: Named[int] = Column(INTEGER, primary_key=True)
    connection_id: Named[str] = Column(TEXT)
    ended_at: Named[str] = Column(TEXT)


class LateResultColumns(TypedColumns):
    """Results of attempts that no longer held their task."""

    num: Named[int] = Column(INTEGER, primary_key=True)
    task: Named[str] = Column(TEXT)
    attempt: Named[int] = Column(INTEGER)
    connection_id: Named[str] = Column(TEXT)
    to: Named[str] = Column(TEXT)
    text: Named[str] = Column(TEXT)
    at: Named[str] = Column(TEXT)


attempts = Table("attempts", metadata, AttemptColumns, **STRICT)
late_results = Table("late_results", metadata, LateResultColumns, **STRICT)
Index("ix_late_results_task", late_results.c.task, late_results.c.num)

FIELDS = ("task", "attempt", "connection_id", "ended_at")
LATE_FIELDS = LateResult.__struct_fields__

_oldest = late_results.alias()
_attempt = bindparam("attempt", type_=INTEGER)

ADD = Statement(insert(attempts).values(binds(attempts, FIELDS)))
GET = Statement(
    select(attempts.c.connection_id, attempts.c.ended_at).where(
        attempts.c.task == bindparam("task"), attempts.c.attempt == _attempt
    )
)
ADD_LATE = Statement(insert(late_results).values(binds(late_results, ("task", *LATE_FIELDS))))
LATE_OF = Statement(
    select(*(late_results.c[name] for name in LATE_FIELDS))
    .where(late_results.c.task == bindparam("task"))
    .order_by(late_results.c.num),
    kept=True,
)
FORGET_OLDEST_LATE = Statement(
    delete(late_results).where(
        late_results.c.num
        == select(func.min(_oldest.c.num))
        .where(_oldest.c.task == bindparam("task"), _oldest.c.attempt == _attempt)
        .scalar_subquery()
    )
)

_read_late = read_as(LateResult, LATE_FIELDS)


def add(tx: Transaction, task: str, attempt: int, connection_id: str, ended_at: str) -> None:
    """Record which participant had an attempt that another one now follows."""
    tx.put(ADD, task=task, attempt=attempt, connection_id=connection_id, ended_at=ended_at)


def get(reader: Reader, task: str, attempt: int) -> tuple[str, str] | None:
    """The connection id and the end of an attempt that another one followed; None if it is unknown or current."""
    row = reader.row(GET, task=task, attempt=attempt)
    return (row[0], row[1]) if row else None


def add_late(tx: Transaction, task: str, late: LateResult) -> None:
    """Add a result of an attempt that no longer holds its task."""
    tx.put(ADD_LATE, task=task, **fields_of(late, LATE_FIELDS))


def late_of(reader: Reader, task: str) -> tuple[LateResult, ...]:
    """The late results of a task, oldest first."""
    return tuple(_read_late(row) for row in reader.rows(LATE_OF, task=task))


def forget_oldest_late(tx: Transaction, task: str, attempt: int) -> None:
    """Delete the oldest late result of an attempt."""
    tx.change(FORGET_OLDEST_LATE, task=task, attempt=attempt)
