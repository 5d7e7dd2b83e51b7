"""The writer's cache equals the store: after other mutations, after rolled back ones, and after a lost batch."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest
from hypothesis import given, strategies
from sqlalchemy import bindparam, delete, select, update

from greenroom.clock import MovedClock
from greenroom.domain.errors import StoreUnavailable
from greenroom.domain.reliability import STREAMS_COUNTED_MAX, WRITER_ROWS_KEPT_MAX, WRITER_TEXT_KEPT_MAX
from greenroom.store import log
from greenroom.store.memory import Memory
from greenroom.store.sqlite import DIALECT, Sqlite
from greenroom.store.statement import Statement
from greenroom.store.store import Store
from greenroom.store.transaction import Transaction
from tests.contract.things import (
    ADD,
    KEPT_SIZE,
    SIZE,
    Boom,
    Mutation,
    adding,
    everything,
    failing,
    last_pos,
    tables,
    things,
)

RESIZE = Statement(update(things).where(things.c.name == bindparam("thing")).values(size=bindparam("to")))
RESIZED = Statement(
    update(things).where(things.c.name == bindparam("thing")).values(size=bindparam("to")).returning(things.c.name)
)
REMOVE = Statement(delete(things).where(things.c.name == bindparam("thing")))


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store.open_memory(MovedClock(), tables=tables)
    yield opened
    opened.close()


def writer_cursor(store: Store) -> sqlite3.Cursor:
    engine = store._engine
    assert isinstance(engine, Sqlite)
    return engine.writing()


def size(transaction: Transaction) -> Any:
    return transaction.row(KEPT_SIZE, thing="a")


def both(transaction: Transaction) -> tuple[Any, Any]:
    """The cached row, and the stored one."""
    return size(transaction), transaction.row(SIZE, thing="a")


def test_what_is_kept_is_asked_once(store: Store) -> None:
    store.run(adding("a"))
    assert (1,) == store.run(size)

    writer_cursor(store).execute("UPDATE things SET size = 5")  # Bypasses the cache, which only a test does.

    assert ((1,), (5,)) == store.run(both)
    assert (5,) == store.read(lambda reader: reader.row(KEPT_SIZE, thing="a"))


@pytest.mark.parametrize(
    ("write", "after"),
    [
        (lambda tx: tx.change(RESIZE, thing="a", to=7), (7,)),
        (lambda tx: tx.change_many(RESIZE, [{"thing": "a", "to": 6}, {"thing": "a", "to": 7}]), (7,)),
        (lambda tx: tx.put(RESIZE, thing="a", to=7), (7,)),
        (lambda tx: tx.put_many(RESIZE, [{"thing": "a", "to": 6}, {"thing": "a", "to": 7}]), (7,)),
        (lambda tx: tx.rows(RESIZED, thing="a", to=7), (7,)),
        (lambda tx: tx.change(REMOVE, thing="a"), None),
    ],
)
def test_it_is_forgotten_when_its_table_is_written_to(store: Store, write: Any, after: Any) -> None:
    store.run(adding("a"))
    assert ((1,), (1,)) == store.run(both)

    store.run(write)

    assert (after, after) == store.run(both)


def test_that_something_is_not_there_is_forgotten_too(store: Store) -> None:
    assert (None, None) == store.run(both)
    store.run(adding("a"))
    assert ((1,), (1,)) == store.run(both)


def test_what_a_mutation_wrote_and_read_goes_with_it(store: Store) -> None:
    def resized(transaction: Transaction) -> None:
        transaction.change(RESIZE, thing="a", to=9)
        assert (9,) == size(transaction)
        raise Boom

    store.run(adding("a"))
    bad, good = store.writer.run_batch([resized, both])
    assert isinstance(bad.exception(), Boom)
    assert ((1,), (1,)) == good.result()


def test_what_a_lost_batch_wrote_and_read_goes_with_it(store: Store) -> None:
    def resized(transaction: Transaction) -> Any:
        transaction.change(RESIZE, thing="a", to=9)
        transaction.record("s", "thing.resized", "test", {"name": "a"})
        return size(transaction)

    def lost(transaction: Transaction) -> None:
        writer_cursor(store).execute("PRAGMA query_only = ON")
        transaction.change(ADD, name="b", size=1)

    store.run(adding("a"))
    futures = store.writer.run_batch([resized, lost])
    writer_cursor(store).execute("PRAGMA query_only = OFF")

    assert all(isinstance(future.exception(), StoreUnavailable) for future in futures)
    assert ((1,), (1,)) == store.run(both)
    store.run(adding("c"))
    assert [(1, 1), (2, 2)] == [(event.pos, event.seq) for event in everything(store)]


STEPS = strategies.tuples(strategies.sampled_from(["red", "blue"]), strategies.booleans())
BATCHES = strategies.lists(strategies.tuples(strategies.lists(STEPS, min_size=1), strategies.booleans()), max_size=8)


@given(BATCHES)
def test_numbers_have_no_gaps_whatever_is_undone(batches: list[tuple[list[tuple[str, bool]], bool]]) -> None:
    seen: Counter[str] = Counter()
    with closing(Store.open_memory(MovedClock(), tables=tables)) as store:
        for steps, is_forgotten in batches:
            store.writer.run_batch([recording(stream, is_good) for stream, is_good in steps])
            if is_forgotten:
                store.writer._memory = Memory()
        events = everything(store)
        for pos, event in enumerate(events, 1):
            seen[event.stream] += 1
            assert (pos, seen[event.stream]) == (event.pos, event.seq)
        assert [stream for steps, _ in batches for stream, is_good in steps if is_good] == [
            event.stream for event in events
        ]
        stored = [store.read(partial(log.last_seq, stream=stream)) for stream in ("red", "blue")]
        assert (len(events), [seen["red"], seen["blue"]]) == (last_pos(store), stored)


def recording(stream: str, is_good: bool) -> Mutation:
    """A mutation that records an event, and then raises unless `is_good`."""

    def mutation(transaction: Transaction) -> None:
        transaction.record(stream, "thing.seen", "test", {})
        if not is_good:
            raise Boom

    return mutation


def test_a_mutation_counts_what_came_before_it_in_its_batch(store: Store) -> None:
    def counting(transaction: Transaction) -> int:
        transaction.record("s", "thing.seen", "test", {})
        return log.last_seq(transaction, "s")

    store.run(adding("a"))
    futures = store.writer.run_batch([adding("b"), counting, failing("c"), counting])
    assert [3, 4] == [futures[at].result() for at in (1, 3)]


def test_not_more_is_remembered_than_may_be() -> None:
    memory = Memory()
    for number in range(WRITER_ROWS_KEPT_MAX):
        memory.keep("things", number, [(number,)])
    assert [(3,)] == memory.rows("things", 3)
    memory.keep("things", "one more", [])
    assert None is memory.rows("things", 3)
    assert [] == memory.rows("things", "one more")

    long = [("x" * (WRITER_TEXT_KEPT_MAX // 2), 1, None)]
    for question in "abc":
        memory.keep("things", question, long)
    assert [None, None, long] == [memory.rows("things", question) for question in "abc"]
    memory.keep("others", "a", long)
    memory.forget_table("things")
    memory.keep("things", "d", long)
    memory.keep("things", "e", long)
    assert [long, long, long] == [memory.rows("others", "a"), memory.rows("things", "d"), memory.rows("things", "e")]
    memory.forget_rows()
    memory.keep("things", "f", long)
    memory.keep("things", "g", long)
    assert [None, long, long] == [memory.rows("things", question) for question in "efg"]

    memory.last_seqs = dict.fromkeys(map(str, range(STREAMS_COUNTED_MAX)), 1)
    memory.trim()
    assert STREAMS_COUNTED_MAX == len(memory.last_seqs)
    memory.last_seqs["one more"] = 1
    memory.trim()
    assert {} == memory.last_seqs


@pytest.mark.parametrize(
    "clause",
    [
        update(things).where(things.c.name == bindparam("thing")).values(size=1).returning(things.c.size),
        select(things.c.name).where(things.c.name.in_(select(log.streams.c.stream))),
    ],
)
def test_only_a_question_to_one_table_can_be_kept(clause: Any) -> None:
    with pytest.raises(TypeError, match="only a SELECT of one table"):
        Statement(clause, kept=True).spelled(DIALECT)


def test_what_is_given_out_is_not_what_is_kept(store: Store) -> None:
    def spoiling(transaction: Transaction) -> None:
        transaction.rows(KEPT_SIZE, thing="a").clear()

    store.run(adding("a"))
    store.run(spoiling)
    assert ((1,), (1,)) == store.run(both)
