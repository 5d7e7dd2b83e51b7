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

from greenroom.domain.errors import StoreUnavailable
from greenroom.domain.limits import (
    WRITER_CACHED_CHARACTERS_MAX,
    WRITER_CACHED_RESULTS_MAX,
    WRITER_CACHED_STREAMS_MAX,
)
from greenroom.store import event_log
from greenroom.store.compiled_sql import Statement
from greenroom.store.read_cache import ReadCache
from greenroom.store.sqlite import DIALECT, SqliteEngine
from greenroom.store.store import Store
from greenroom.store.transaction import Transaction
from greenroom.testing import MovedClock
from tests.contract.things_table import (
    ADD,
    CACHED_SIZE,
    SIZE,
    Mutation,
    MutationFailed,
    add_thing,
    all_events,
    fail_after_add,
    last_pos,
    tables,
    things,
)

RESIZE = Statement(update(things).where(things.c.name == bindparam("thing")).values(size=bindparam("to")))
RESIZE_RETURNING_NAME = Statement(
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
    assert isinstance(engine, SqliteEngine)
    return engine.writer_cursor()


def cached_size(transaction: Transaction) -> Any:
    return transaction.row(CACHED_SIZE, thing="a")


def cached_and_stored_size(transaction: Transaction) -> tuple[Any, Any]:
    """The cached row, and the stored one."""
    return cached_size(transaction), transaction.row(SIZE, thing="a")


def test_cached_row_is_read_once(store: Store) -> None:
    store.run(add_thing("a"))
    assert (1,) == store.run(cached_size)

    writer_cursor(store).execute("UPDATE things SET size = 5")  # Bypasses the cache, which only a test does.

    assert ((1,), (5,)) == store.run(cached_and_stored_size)
    assert (5,) == store.read(lambda reader: reader.row(CACHED_SIZE, thing="a"))


@pytest.mark.parametrize(
    ("write", "after"),
    [
        (lambda tx: tx.execute(RESIZE, thing="a", to=7), (7,)),
        (lambda tx: tx.execute_many(RESIZE, [{"thing": "a", "to": 6}, {"thing": "a", "to": 7}]), (7,)),
        (lambda tx: tx.execute_deferred(RESIZE, thing="a", to=7), (7,)),
        (lambda tx: tx.execute_many_deferred(RESIZE, [{"thing": "a", "to": 6}, {"thing": "a", "to": 7}]), (7,)),
        (lambda tx: tx.rows(RESIZE_RETURNING_NAME, thing="a", to=7), (7,)),
        (lambda tx: tx.execute(REMOVE, thing="a"), None),
    ],
)
def test_write_invalidates_table(store: Store, write: Any, after: Any) -> None:
    store.run(add_thing("a"))
    assert ((1,), (1,)) == store.run(cached_and_stored_size)

    store.run(write)

    assert (after, after) == store.run(cached_and_stored_size)


def test_write_invalidates_cached_absence(store: Store) -> None:
    assert (None, None) == store.run(cached_and_stored_size)
    store.run(add_thing("a"))
    assert ((1,), (1,)) == store.run(cached_and_stored_size)


def test_rolled_back_mutation_is_not_cached(store: Store) -> None:
    def resized(transaction: Transaction) -> None:
        transaction.execute(RESIZE, thing="a", to=9)
        assert (9,) == cached_size(transaction)
        raise MutationFailed

    store.run(add_thing("a"))
    bad, good = store.writer.run_batch([resized, cached_and_stored_size])
    assert isinstance(bad.exception(), MutationFailed)
    assert ((1,), (1,)) == good.result()


def test_lost_batch_is_not_cached(store: Store) -> None:
    def resized(transaction: Transaction) -> Any:
        transaction.execute(RESIZE, thing="a", to=9)
        transaction.record_event("s", "thing.resized", "test", {"name": "a"})
        return cached_size(transaction)

    def lost(transaction: Transaction) -> None:
        writer_cursor(store).execute("PRAGMA query_only = ON")
        transaction.execute(ADD, name="b", size=1)

    store.run(add_thing("a"))
    futures = store.writer.run_batch([resized, lost])
    writer_cursor(store).execute("PRAGMA query_only = OFF")

    assert all(isinstance(future.exception(), StoreUnavailable) for future in futures)
    assert ((1,), (1,)) == store.run(cached_and_stored_size)
    store.run(add_thing("c"))
    assert [(1, 1), (2, 2)] == [(event.pos, event.seq) for event in all_events(store)]


STEPS = strategies.tuples(strategies.sampled_from(["red", "blue"]), strategies.booleans())
BATCHES = strategies.lists(strategies.tuples(strategies.lists(STEPS, min_size=1), strategies.booleans()), max_size=8)


@given(BATCHES)
def test_event_numbers_have_no_gaps(batches: list[tuple[list[tuple[str, bool]], bool]]) -> None:
    seen: Counter[str] = Counter()
    with closing(Store.open_memory(MovedClock(), tables=tables)) as store:
        for steps, drops_cache in batches:
            store.writer.run_batch([recording(stream, is_good) for stream, is_good in steps])
            if drops_cache:
                store.writer._read_cache = ReadCache()
        events = all_events(store)
        for pos, event in enumerate(events, 1):
            seen[event.stream] += 1
            assert (pos, seen[event.stream]) == (event.pos, event.seq)
        assert [stream for steps, _ in batches for stream, is_good in steps if is_good] == [
            event.stream for event in events
        ]
        stored = [store.read(partial(event_log.get_last_seq, stream=stream)) for stream in ("red", "blue")]
        assert (len(events), [seen["red"], seen["blue"]]) == (last_pos(store), stored)


def recording(stream: str, is_good: bool) -> Mutation:
    """A mutation that records an event, and then raises unless `is_good`."""

    def mutation(transaction: Transaction) -> None:
        transaction.record_event(stream, "thing.seen", "test", {})
        if not is_good:
            raise MutationFailed

    return mutation


def test_last_seq_includes_batch(store: Store) -> None:
    def counting(transaction: Transaction) -> int:
        transaction.record_event("s", "thing.seen", "test", {})
        return event_log.get_last_seq(transaction, "s")

    store.run(add_thing("a"))
    futures = store.writer.run_batch([add_thing("b"), counting, fail_after_add("c"), counting])
    assert [3, 4] == [futures[at].result() for at in (1, 3)]


def test_cache_limits() -> None:
    memory = ReadCache()
    for number in range(WRITER_CACHED_RESULTS_MAX):
        memory.store_rows("things", number, [(number,)])
    assert [(3,)] == memory.get_rows("things", 3)
    memory.store_rows("things", "one more", [])
    assert None is memory.get_rows("things", 3)
    assert [] == memory.get_rows("things", "one more")

    long = [("x" * (WRITER_CACHED_CHARACTERS_MAX // 2), 1, None)]
    for key in "abc":
        memory.store_rows("things", key, long)
    assert [None, None, long] == [memory.get_rows("things", key) for key in "abc"]
    memory.store_rows("others", "a", long)
    memory.discard_table("things")
    memory.store_rows("things", "d", long)
    memory.store_rows("things", "e", long)
    assert [long, long, long] == [
        memory.get_rows("others", "a"),
        memory.get_rows("things", "d"),
        memory.get_rows("things", "e"),
    ]
    memory.discard_rows()
    memory.store_rows("things", "f", long)
    memory.store_rows("things", "g", long)
    assert [None, long, long] == [memory.get_rows("things", key) for key in "efg"]

    memory.last_seqs = dict.fromkeys(map(str, range(WRITER_CACHED_STREAMS_MAX)), 1)
    memory.trim_streams()
    assert WRITER_CACHED_STREAMS_MAX == len(memory.last_seqs)
    memory.last_seqs["one more"] = 1
    memory.trim_streams()
    assert {} == memory.last_seqs


@pytest.mark.parametrize(
    "clause",
    [
        update(things).where(things.c.name == bindparam("thing")).values(size=1).returning(things.c.size),
        select(things.c.name).where(things.c.name.in_(select(event_log.streams.c.stream))),
    ],
)
def test_only_single_table_select_is_cacheable(clause: Any) -> None:
    with pytest.raises(TypeError, match="only a SELECT of one table"):
        Statement(clause, cached=True).compile_for(DIALECT)


def test_cached_rows_are_copied(store: Store) -> None:
    def clearing(transaction: Transaction) -> None:
        transaction.rows(CACHED_SIZE, thing="a").clear()

    store.run(add_thing("a"))
    store.run(clearing)
    assert ((1,), (1,)) == store.run(cached_and_stored_size)
