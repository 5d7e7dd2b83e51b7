"""Stores what belongs to the attempts at a task: the participant of each former attempt, late results, and notes.

A note is a text by a user for the agent that holds the task.
"""

from sqlalchemy import Column, Index, Named, Table, TypedColumns, bindparam, delete, func, insert, select

from greenroom.domain.task import LateResult, Note
from greenroom.store.compiled_sql import Statement
from greenroom.store.rows import bind_columns, encode_fields, row_decoder
from greenroom.store.schema import INTEGER, STRICT, TEXT, metadata
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


class NoteColumns(TypedColumns):
    """`num` is the order in which notes were written; `attempt` is the one that held the task then, if any."""

    num: Named[int] = Column(INTEGER, primary_key=True)
    task: Named[str] = Column(TEXT)
    attempt: Named[int | None] = Column(INTEGER, nullable=True)
    by: Named[str] = Column(TEXT)
    text: Named[str] = Column(TEXT)
    at: Named[str] = Column(TEXT)


attempts = Table("attempts", metadata, AttemptColumns, **STRICT)
late_results = Table("late_results", metadata, LateResultColumns, **STRICT)
notes = Table("notes", metadata, NoteColumns, **STRICT)
Index("ix_late_results_task", late_results.c.task, late_results.c.num)
Index("ix_notes_task", notes.c.task, notes.c.num)

FIELDS = ("task", "attempt", "connection_id", "ended_at")
LATE_RESULT_FIELDS = LateResult.__struct_fields__
NOTE_FIELDS = Note.__struct_fields__

_oldest = late_results.alias()
_attempt = bindparam("attempt", type_=INTEGER)

ADD = Statement(insert(attempts).values(bind_columns(attempts, FIELDS)))
GET = Statement(
    select(attempts.c.connection_id, attempts.c.ended_at).where(
        attempts.c.task == bindparam("task"), attempts.c.attempt == _attempt
    )
)
ADD_LATE_RESULT = Statement(insert(late_results).values(bind_columns(late_results, ("task", *LATE_RESULT_FIELDS))))
LATE_RESULTS_OF_TASK = Statement(
    select(*(late_results.c[name] for name in LATE_RESULT_FIELDS))
    .where(late_results.c.task == bindparam("task"))
    .order_by(late_results.c.num),
    cached=True,
)
DELETE_OLDEST_LATE = Statement(
    delete(late_results).where(
        late_results.c.num
        == select(func.min(_oldest.c.num))
        .where(_oldest.c.task == bindparam("task"), _oldest.c.attempt == _attempt)
        .scalar_subquery()
    )
)
ADD_NOTE = Statement(insert(notes).values(bind_columns(notes, ("task", *NOTE_FIELDS))))
NOTES_OF_TASK = Statement(
    select(*(notes.c[name] for name in NOTE_FIELDS)).where(notes.c.task == bindparam("task")).order_by(notes.c.num),
    cached=True,
)

_read_late = row_decoder(LateResult, LATE_RESULT_FIELDS)
_read_note = row_decoder(Note, NOTE_FIELDS)


def add(tx: Transaction, task: str, attempt: int, connection_id: str, ended_at: str) -> None:
    """Record which participant had an attempt that another one now follows."""
    tx.execute_deferred(ADD, task=task, attempt=attempt, connection_id=connection_id, ended_at=ended_at)


def get(reader: Reader, task: str, attempt: int) -> tuple[str, str] | None:
    """The connection id and the end of an attempt that another one followed; None if it is unknown or current."""
    row = reader.row(GET, task=task, attempt=attempt)
    return (row[0], row[1]) if row else None


def add_late_result(tx: Transaction, task: str, late: LateResult) -> None:
    """Add a result of an attempt that no longer holds its task."""
    tx.execute_deferred(ADD_LATE_RESULT, task=task, **encode_fields(late, LATE_RESULT_FIELDS))


def list_late_results(reader: Reader, task: str) -> tuple[LateResult, ...]:
    """The late results of a task, oldest first."""
    return tuple(_read_late(row) for row in reader.rows(LATE_RESULTS_OF_TASK, task=task))


def delete_oldest_late_result(tx: Transaction, task: str, attempt: int) -> None:
    """Delete the oldest late result of an attempt."""
    tx.execute(DELETE_OLDEST_LATE, task=task, attempt=attempt)


def add_note(tx: Transaction, task: str, note: Note) -> None:
    """Add a note."""
    tx.execute_deferred(ADD_NOTE, task=task, **encode_fields(note, NOTE_FIELDS))


def list_notes(reader: Reader, task: str) -> tuple[Note, ...]:
    """The notes on a task, oldest first."""
    return tuple(_read_note(row) for row in reader.rows(NOTES_OF_TASK, task=task))
