"""The one secret that every token is made with, remembered. Must not know tokens."""

from sqlalchemy import Column, Named, Table, TypedColumns, bindparam, select

from greenroom.store.records import binds
from greenroom.store.schema import STRICT, TEXT, metadata
from greenroom.store.statement import Statement, upsert
from greenroom.store.transaction import Transaction


class KeyColumns(TypedColumns):
    """Keys by name, in hexadecimal."""

    name: Named[str] = Column(TEXT, primary_key=True)
    value: Named[str] = Column(TEXT)


keys = Table("keys", metadata, KeyColumns, **STRICT)

ADD = Statement(
    upsert(keys).values(binds(keys, ("name", "value"))).on_conflict_do_nothing(index_elements=[keys.c.name])
)
GET = Statement(select(keys.c.value).where(keys.c.name == bindparam("name")))


def settle(tx: Transaction, name: str, fresh: bytes) -> bytes:
    """The key of that name: the one that is kept, or `fresh` if there is none yet, which is kept from now on."""
    tx.change(ADD, name=name, value=fresh.hex())
    row = tx.row(GET, name=name)
    assert row is not None
    return bytes.fromhex(row[0])
