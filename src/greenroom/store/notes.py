"""Stores notes: texts by users for the agent that holds a task."""

from sqlalchemy import Column, Index, Named, Table, TypedColumns, bindparam, insert, select

from greenroom.domain.task import Note
from greenroom.store.records import binds, fields_of, read_as
from greenroom.store.schema import INTEGER, STRICT, TEXT, metadata
from greenroom.store.statement import Statement
from greenroom.store.transaction import Reader, Transaction


class NoteColumns(TypedColumns):
    """`num` is the order in which notes were written; `attempt` is the one that held the task then, if any."""

    num: Named[int] = Column(INTEGER, primary_key=True)
    task: Named[str] = Column(TEXT)
    attempt: Named[int | None] = Column(INTEGER, nullable=True)
    by: Named[str] = Column(TEXT)
    text: Named[str] = Column(TEXT)
    at: Named[str] = Column(TEXT)


notes = Table("notes", metadata, NoteColumns, **STRICT)
Index("ix_notes_task", notes.c.task, notes.c.num)

FIELDS = Note.__struct_fields__
ADD = Statement(insert(notes).values(binds(notes, ("task", *FIELDS))))
OF_TASK = Statement(
    select(*(notes.c[name] for name in FIELDS)).where(notes.c.task == bindparam("task")).order_by(notes.c.num),
    kept=True,
)

_read = read_as(Note, FIELDS)


def add(tx: Transaction, task: str, note: Note) -> None:
    """Add a note."""
    tx.put(ADD, task=task, **fields_of(note, FIELDS))


def of_task(reader: Reader, task: str) -> tuple[Note, ...]:
    """The notes on a task, oldest first."""
    return tuple(_read(row) for row in reader.rows(OF_TASK, task=task))
