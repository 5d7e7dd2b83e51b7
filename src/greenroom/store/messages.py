"""Stores messages."""

from sqlalchemy import Column, Index, Named, Table, TypedColumns, bindparam, insert, select

from greenroom.domain.message import Message
from greenroom.store.compiled_sql import Statement
from greenroom.store.rows import bind_columns, encode_fields, resolve_cursor, row_decoder
from greenroom.store.schema import INTEGER, STRICT, TEXT, metadata
from greenroom.store.transaction import Reader, Transaction


class MessageColumns(TypedColumns):
    """`num` is the order in which messages were sent."""

    num: Named[int] = Column(INTEGER, primary_key=True)
    id: Named[str] = Column(TEXT, unique=True)
    room: Named[str] = Column(TEXT)
    sender: Named[str] = Column(TEXT)
    to: Named[str] = Column(TEXT)
    text: Named[str] = Column(TEXT)
    task: Named[str | None] = Column(TEXT, nullable=True)
    at: Named[str] = Column(TEXT)


messages = Table("messages", metadata, MessageColumns, **STRICT)
Index("ix_messages_room", messages.c.room, messages.c.num)

FIELDS = Message.__struct_fields__

ADD = Statement(insert(messages).values(bind_columns(messages, FIELDS)))
NUM = Statement(select(messages.c.num).where(messages.c.id == bindparam("id"), messages.c.room == bindparam("room")))
PAGE = Statement(
    select(*(messages.c[name] for name in FIELDS))
    .where(messages.c.room == bindparam("room"), messages.c.num > bindparam("after", type_=INTEGER))
    .order_by(messages.c.num)
    .limit(bindparam("limit", type_=INTEGER))
)

_read = row_decoder(Message, FIELDS)


def add(tx: Transaction, message: Message) -> None:
    """Add a message."""
    tx.execute_deferred(ADD, **encode_fields(message, FIELDS))


def page(reader: Reader, room: str, after: str | None, limit: int) -> list[Message]:
    """Up to `limit` messages of a room after the message `after`, oldest first."""
    num = resolve_cursor(reader, NUM, after, id=after, room=room)
    return [_read(row) for row in reader.rows(PAGE, room=room, after=num, limit=limit)]
