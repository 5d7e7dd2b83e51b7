"""Stores the secret that signs all tokens."""

from sqlalchemy import Column, Named, Table, TypedColumns, bindparam, select

from greenroom.store.records import binds
from greenroom.store.schema import STRICT, TEXT, metadata
from greenroom.store.statement import Statement, upsert
from greenroom.store.transaction import Transaction


class KeyColumns(TypedColumns):
    """Secrets by name, in hexadecimal."""

    name: Named[str] = Column(TEXT, primary_key=True)
    value: Named[str] = Column(TEXT)


keys = Table("keys", metadata, KeyColumns, **STRICT)

ADD = Statement(
    upsert(keys).values(binds(keys, ("name", "value"))).on_conflict_do_nothing(index_elements=[keys.c.name])
)
GET = Statement(select(keys.c.value).where(keys.c.name == bindparam("name")))


def settle(tx: Transaction, name: str, fresh: bytes) -> bytes:
    """The stored secret of this name; if there is none yet, store `fresh` and return it."""
    tx.change(ADD, name=name, value=fresh.hex())
    row = tx.row(GET, name=name)
    assert row is not None
    return bytes.fromhex(row[0])
