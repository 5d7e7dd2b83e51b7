"""Stores the alerts that are raised and not resolved yet."""

import msgspec
from sqlalchemy import Column, Named, Table, TypedColumns, bindparam, delete, select

from greenroom.domain.alert import Alert
from greenroom.store.compiled_sql import Statement, upsert
from greenroom.store.rows import bind_columns, encode_fields
from greenroom.store.schema import STRICT, TEXT, metadata
from greenroom.store.transaction import Reader, Row, Transaction


class AlertColumns(TypedColumns):
    """One row for each raised alert; resolved ones are in the event log only."""

    key: Named[str] = Column(TEXT, primary_key=True)
    room: Named[str | None] = Column(TEXT, nullable=True)
    text: Named[str] = Column(TEXT)
    subjects: Named[str] = Column(TEXT)
    raised_at: Named[str] = Column(TEXT)


alerts = Table("alerts", metadata, AlertColumns, **STRICT)

FIELDS = Alert.__struct_fields__
_alert = select(*(alerts.c[name] for name in FIELDS))

ADD = Statement(
    upsert(alerts).values(bind_columns(alerts, FIELDS)).on_conflict_do_nothing(index_elements=[alerts.c.key])
)
GET = Statement(_alert.where(alerts.c.key == bindparam("key")))
OF_ROOM = Statement(_alert.where(alerts.c.room == bindparam("room")).order_by(alerts.c.key))
ALL = Statement(_alert.order_by(alerts.c.raised_at, alerts.c.key))
OF_KIND = Statement(
    _alert.where(alerts.c.key >= bindparam("first"), alerts.c.key < bindparam("end")).order_by(alerts.c.key)
)
REMOVE = Statement(delete(alerts).where(alerts.c.key == bindparam("key")))


def _read(row: Row) -> Alert:
    key, room, text, subjects, raised_at = row
    return Alert(key=key, room=room, text=text, subjects=tuple(msgspec.json.decode(subjects)), raised_at=raised_at)


def add(tx: Transaction, alert: Alert) -> bool:
    """Add an alert; False when an alert with its key is raised already."""
    values = encode_fields(alert, FIELDS) | {"subjects": msgspec.json.encode(alert.subjects).decode()}
    return tx.execute(ADD, **values) == 1


def remove(tx: Transaction, key: str) -> bool:
    """Delete an alert; False when none is raised under this key."""
    return tx.execute(REMOVE, key=key) == 1


def get(reader: Reader, key: str) -> Alert | None:
    """Find an alert by its key."""
    row = reader.row(GET, key=key)
    return _read(row) if row else None


def list_in_room(reader: Reader, room: str) -> list[Alert]:
    """The raised alerts of a room."""
    return [_read(row) for row in reader.rows(OF_ROOM, room=room)]


def list_of_kind(reader: Reader, kind: str) -> list[Alert]:
    """The raised alerts of a kind."""
    return [_read(row) for row in reader.rows(OF_KIND, first=f"{kind}:", end=f"{kind};")]


def list_all(reader: Reader) -> list[Alert]:
    """All raised alerts, oldest first."""
    return [_read(row) for row in reader.rows(ALL)]
