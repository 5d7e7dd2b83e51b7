"""The table `things` of the contract tests, beside the event log: its statements, and mutations that use them."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from sqlalchemy import CheckConstraint, Column, MetaData, Table, bindparam, func, insert, select, update

from greenroom.domain.event import Event
from greenroom.store import event_log
from greenroom.store.compiled_sql import Statement
from greenroom.store.schema import INTEGER, STRICT, TEXT
from greenroom.store.store import Store
from greenroom.store.transaction import Reader, Transaction
from tests.waiting import PATIENCE_S

tables = MetaData()
for log_table in (event_log.streams, event_log.counters, event_log.events):
    log_table.to_metadata(tables)
things = Table(
    "things",
    tables,
    Column("name", TEXT, primary_key=True),
    Column("size", INTEGER, nullable=False),
    CheckConstraint("size >= 0", name="size"),
    **STRICT,
)

ADD = Statement(insert(things))
GROW = Statement(update(things).where(things.c.name == bindparam("thing")).values(size=things.c.size + bindparam("by")))
GROW_RETURNING_SIZE = Statement(
    update(things)
    .where(things.c.name == bindparam("thing"))
    .values(size=things.c.size + bindparam("by"))
    .returning(things.c.size)
)
NAMES = Statement(select(things.c.name).order_by(things.c.name))
SIZE = Statement(select(things.c.size).where(things.c.name == bindparam("thing")))
CACHED_SIZE = Statement(select(things.c.size).where(things.c.name == bindparam("thing")), cached=True)
COUNT = Statement(select(func.count()).select_from(things))

Mutation = Callable[[Transaction], Any]


class MutationFailed(Exception):
    """The error that failing mutations of these tests raise."""


def add_thing(
    name: str, stream: str = "s", size: int = 1, write: Callable[..., object] = Transaction.execute
) -> Mutation:
    """A mutation that adds a thing, records an event of it in a stream, and returns its name."""

    def mutation(transaction: Transaction) -> str:
        write(transaction, ADD, name=name, size=size)
        transaction.record_event(stream, "thing.added", "test", {"name": name})
        return name

    return mutation


def add_thing_deferred(name: str, stream: str = "s", size: int = 1) -> Mutation:
    """A mutation that does what `add_thing` does, with a deferred statement."""
    return add_thing(name, stream, size, Transaction.execute_deferred)


def fail_after_add(name: str, error: BaseException | None = None) -> Mutation:
    """A mutation that does what `add_thing` does, and then raises."""

    def mutation(transaction: Transaction) -> None:
        add_thing(name)(transaction)
        raise error or MutationFailed(name)

    return mutation


def thing_names(store: Store) -> list[str]:
    return [name for (name,) in store.read(lambda reader: reader.rows(NAMES))]


def all_events(store: Store) -> list[Event]:
    return store.read(lambda reader: event_log.list_all_after(reader, 0, 1000))


def last_pos(store: Store) -> int:
    return store.read(event_log.get_last_pos)


def last_seq(store: Store, stream: str) -> int:
    def query(reader: Reader) -> int:
        return event_log.get_last_seq(reader, stream)

    return store.read(query)


@contextmanager
def writer_blocked(store: Store) -> Iterator[None]:
    """Block the writer's thread inside a mutation, so that all mutations submitted meanwhile form one batch."""
    started, released = threading.Event(), threading.Event()

    def mutation(transaction: Transaction) -> None:
        started.set()
        assert released.wait(PATIENCE_S)

    blocking: Future[None] = store.write(mutation)
    assert started.wait(PATIENCE_S)
    try:
        yield
    finally:
        released.set()
        blocking.result(PATIENCE_S)
