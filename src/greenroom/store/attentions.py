"""Stores the alerts that are raised and not resolved yet."""

import msgspec
from sqlalchemy import Column, Named, Table, TypedColumns, bindparam, delete, select

from greenroom.domain.attention import Attention
from greenroom.store.records import binds, fields_of
from greenroom.store.schema import STRICT, TEXT, metadata
from greenroom.store.statement import Statement, upsert
from greenroom.store.transaction import Reader, Row, Transaction


class AttentionColumns(TypedColumns):
    """One row for each raised alert; resolved ones are in the event log only."""

    key: Named[str] = Column(TEXT, primary_key=True)
    room: Named[str | None] = Column(TEXT, nullable=True)
    text: Named[str] = Column(TEXT)
    subjects: Named[str] = Column(TEXT)
    raised_at: Named[str] = Column(TEXT)


attentions = Table("attentions", metadata, AttentionColumns, **STRICT)

FIELDS = Attention.__struct_fields__
_alert = select(*(attentions.c[name] for name in FIELDS))

ADD = Statement(
    upsert(attentions).values(binds(attentions, FIELDS)).on_conflict_do_nothing(index_elements=[attentions.c.key])
)
GET = Statement(_alert.where(attentions.c.key == bindparam("key")))
OF_ROOM = Statement(_alert.where(attentions.c.room == bindparam("room")).order_by(attentions.c.key))
ALL = Statement(_alert.order_by(attentions.c.raised_at, attentions.c.key))
REMOVE = Statement(delete(attentions).where(attentions.c.key == bindparam("key")))


def _read(row: Row) -> Attention:
    key, room, text, subjects, raised_at = row
    return Attention(key=key, room=room, text=text, subjects=tuple(msgspec.json.decode(subjects)), raised_at=raised_at)


def add(tx: Transaction, alert: Attention) -> bool:
    """Add an alert; False when an alert with its key is raised already."""
    values = fields_of(alert, FIELDS) | {"subjects": msgspec.json.encode(alert.subjects).decode()}
    return tx.change(ADD, **values) == 1


def remove(tx: Transaction, key: str) -> bool:
    """Delete an alert; False when none is raised under this key."""
    return tx.change(REMOVE, key=key) == 1


def get(reader: Reader, key: str) -> Attention | None:
    """Find an alert by its key."""
    row = reader.row(GET, key=key)
    return _read(row) if row else None


def of_room(reader: Reader, room: str) -> list[Attention]:
    """The raised alerts of a room."""
    return [_read(row) for row in reader.rows(OF_ROOM, room=room)]


def every(reader: Reader) -> list[Attention]:
    """All raised alerts, oldest first."""
    return [_read(row) for row in reader.rows(ALL)]
