"""Stores idempotency keys and the replies that were sent under them."""

from sqlalchemy import Column, Index, Named, Table, TypedColumns, bindparam, delete, insert, select

from greenroom.store.records import binds
from greenroom.store.schema import INTEGER, STRICT, TEXT, metadata
from greenroom.store.statement import Statement
from greenroom.store.transaction import Reader, Row, Transaction


class AnswerColumns(TypedColumns):
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


answers = Table("answers", metadata, AnswerColumns, Index(None, "at"), **STRICT)

_by_key = (
    answers.c.subject == bindparam("subject"),
    answers.c.route == bindparam("route"),
    answers.c.key == bindparam("key"),
)

NAMES = ("subject", "route", "key", "digest", "status", "body", "at")
ADD = Statement(insert(answers).values(binds(answers, NAMES)))
GET = Statement(select(answers.c.digest, answers.c.status, answers.c.body, answers.c.at).where(*_by_key))
REMOVE = Statement(delete(answers).where(*_by_key))


def get(reader: Reader, subject: str, route: str, key: str) -> Row | None:
    """Find the reply that was sent under a key, as (digest, status, body, at)."""
    return reader.row(GET, subject=subject, route=route, key=key)


def add(tx: Transaction, subject: str, route: str, key: str, digest: str, status: int, body: str) -> None:
    """Add a reply."""
    tx.put(ADD, subject=subject, route=route, key=key, digest=digest, status=status, body=body, at=tx.now.instant)


def remove(tx: Transaction, subject: str, route: str, key: str) -> None:
    """Delete a reply."""
    tx.change(REMOVE, subject=subject, route=route, key=key)
