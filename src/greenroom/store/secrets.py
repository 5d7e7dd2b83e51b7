"""Stores the secret that signs all tokens."""

from sqlalchemy import Column, Named, Table, TypedColumns, bindparam, select

from greenroom.store.compiled_sql import Statement, upsert
from greenroom.store.rows import bind_columns
from greenroom.store.schema import STRICT, TEXT, metadata
from greenroom.store.transaction import Transaction


class SecretColumns(TypedColumns):
    """Secrets by name, in hexadecimal."""

    name: Named[str] = Column(TEXT, primary_key=True)
    value: Named[str] = Column(TEXT)


secrets = Table("secrets", metadata, SecretColumns, **STRICT)

ADD = Statement(
    upsert(secrets)
    .values(bind_columns(secrets, ("name", "value")))
    .on_conflict_do_nothing(index_elements=[secrets.c.name])
)
GET = Statement(select(secrets.c.value).where(secrets.c.name == bindparam("name")))


def get_or_create(tx: Transaction, name: str, new_value: bytes) -> bytes:
    """The stored secret of this name; if there is none yet, store `new_value` and return it."""
    tx.execute(ADD, name=name, value=new_value.hex())
    row = tx.row(GET, name=name)
    assert row is not None
    return bytes.fromhex(row[0])
