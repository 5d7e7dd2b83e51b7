"""Stores idempotency keys and the replies that were sent under them."""

from sqlalchemy import Column, Index, Named, Table, TypedColumns, bindparam, delete, insert, select

from greenroom.store.compiled_sql import Statement
from greenroom.store.rows import bind_columns
from greenroom.store.schema import INTEGER, STRICT, TEXT, metadata
from greenroom.store.transaction import Reader, Row, Transaction


class IdempotencyKeyColumns(TypedColumns):
    """One reply for each caller (`subject`), route and key.

    `digest` is that of the request's body, to detect a key that is used again for another request.
    """

    subject: Named[str] = Column(TEXT, primary_key=True)
    route: Named[str] = Column(TEXT, primary_key=True)
    key: Named[str] = Column(TEXT, primary_key=True)
    digest: Named[str] = Column(TEXT)
    status: Named[int] = Column(INTEGER)
    body: Named[str] = Column(TEXT)
    at: Named[str] = Column(TEXT)


idempotency_keys = Table("idempotency_keys", metadata, IdempotencyKeyColumns, Index(None, "at"), **STRICT)

_by_key = (
    idempotency_keys.c.subject == bindparam("subject"),
    idempotency_keys.c.route == bindparam("route"),
    idempotency_keys.c.key == bindparam("key"),
)

FIELDS = ("subject", "route", "key", "digest", "status", "body", "at")
ADD = Statement(insert(idempotency_keys).values(bind_columns(idempotency_keys, FIELDS)))
GET = Statement(
    select(idempotency_keys.c.digest, idempotency_keys.c.status, idempotency_keys.c.body, idempotency_keys.c.at).where(
        *_by_key
    )
)
REMOVE = Statement(delete(idempotency_keys).where(*_by_key))


def get(reader: Reader, subject: str, route: str, key: str) -> Row | None:
    """Find the reply that was sent under a key, as (digest, status, body, at)."""
    return reader.row(GET, subject=subject, route=route, key=key)


def add(tx: Transaction, subject: str, route: str, key: str, digest: str, status: int, body: str) -> None:
    """Add a reply."""
    tx.execute_deferred(
        ADD, subject=subject, route=route, key=key, digest=digest, status=status, body=body, at=tx.now.instant
    )


def remove(tx: Transaction, subject: str, route: str, key: str) -> None:
    """Delete a reply."""
    tx.execute(REMOVE, subject=subject, route=route, key=key)
