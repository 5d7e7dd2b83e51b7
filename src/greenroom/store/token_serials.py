"""Stores the serials of machines and roles that were deleted: tokens with an earlier serial are refused."""

from sqlalchemy import Column, Named, Table, TypedColumns, bindparam, select

from greenroom.store.compiled_sql import Statement, upsert
from greenroom.store.schema import INTEGER, STRICT, TEXT, metadata
from greenroom.store.transaction import Reader, Transaction


class TokenSerialColumns(TypedColumns):
    """The serial of a subject (`machine:m1`, `agent:room_x/builder`) that was deleted at least once."""

    subject: Named[str] = Column(TEXT, primary_key=True)
    serial: Named[int] = Column(INTEGER)


token_serials = Table("token_serials", metadata, TokenSerialColumns, **STRICT)

RAISE = Statement(
    upsert(token_serials)
    .values(subject=bindparam("subject"), serial=1)
    .on_conflict_do_update(index_elements=[token_serials.c.subject], set_={"serial": token_serials.c.serial + 1})
)
GET = Statement(select(token_serials.c.serial).where(token_serials.c.subject == bindparam("subject")))
ALL = Statement(select(token_serials.c.subject, token_serials.c.serial))


def raise_serial(tx: Transaction, subject: str) -> int:
    """Raise the serial of a subject by 1, from 0 for a new one, and return it."""
    tx.execute(RAISE, subject=subject)
    row = tx.row(GET, subject=subject)
    assert row is not None
    serial: int = row[0]
    return serial


def list_all(reader: Reader) -> dict[str, int]:
    """All serials by subject; a subject that is not in it has serial 0."""
    return dict(reader.rows(ALL))
