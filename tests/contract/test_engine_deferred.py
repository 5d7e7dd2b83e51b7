"""Deferred statements, on every kind of store: they run in order, and are checked before the commit."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, nullcontext, suppress
from typing import Any

import pytest
from sqlalchemy import bindparam, update

from greenroom.store.compiled_sql import Statement
from greenroom.store.engine import RowCountMismatch
from greenroom.store.postgres.pipeline import PostgresSession
from greenroom.store.store import Store
from greenroom.store.transaction import Transaction
from greenroom.testing import MovedClock
from tests.contract.postgres_stores import open_threadless
from tests.contract.things_table import (
    ADD,
    CACHED_SIZE,
    COUNT,
    GROW,
    GROW_RETURNING_SIZE,
    SIZE,
    MutationFailed,
    add_thing,
    add_thing_deferred,
    all_events,
    tables,
    thing_names,
    things,
)

GROW_ALL = Statement(update(things).values(size=things.c.size + bindparam("by")))


@pytest.fixture(params=["memory", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with ExitStack() as stack:
        if request.param == "memory":
            opened = Store.open_memory(MovedClock(), tables=tables)
        else:
            opened = open_threadless(stack.enter_context(request.getfixturevalue("postgres").database()))
        yield opened
        opened.close()


@pytest.fixture
def round_trips(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of commands in each round trip."""
    counted: list[int] = []
    original = PostgresSession._read_results

    def counting(session: PostgresSession, sent: Any) -> None:
        counted.append(len(sent))
        original(session, sent)

    monkeypatch.setattr(PostgresSession, "_read_results", counting)
    return counted


def run_batch(store: Store, *mutations: Any) -> list[Future[Any]]:
    return store.writer.run_batch(mutations)


def test_later_statements_see_deferred_ones(store: Store) -> None:
    def mutation(transaction: Transaction) -> list[Any]:
        transaction.execute_deferred(ADD, name="a", size=1)
        seen: list[Any] = [transaction.row(SIZE, thing="a")]
        transaction.execute_deferred(GROW, thing="a", by=2)
        transaction.execute_many_deferred(ADD, [{"name": name, "size": 1} for name in "bc"])
        transaction.execute_many_deferred(ADD, [])
        seen += [transaction.execute(GROW, thing="a", by=4), *transaction.rows(GROW_RETURNING_SIZE, thing="a", by=8)]
        transaction.execute_many_deferred(GROW_ALL, [{"by": 1}])
        return [*seen, transaction.row(COUNT), transaction.row(SIZE, thing="a")]

    assert store.run(mutation) == [(1,), 1, (15,), (3,), (16,)]
    assert thing_names(store) == ["a", "b", "c"]


@pytest.mark.parametrize("reads", [False, True])
def test_failing_deferred_statement_fails_only_its_mutation(store: Store, reads: bool) -> None:
    def bad(transaction: Transaction) -> None:
        add_thing_deferred("b", size=-1)(transaction)
        if reads:
            transaction.rows(COUNT)

    futures = run_batch(store, add_thing_deferred("a"), bad, add_thing_deferred("c"))
    assert [future.exception() is None for future in futures] == [True, False, True]
    assert "size" in str(futures[1].exception())
    assert thing_names(store) == ["a", "c"]
    assert [(event.seq, event.data["name"]) for event in all_events(store)] == [(1, "a"), (2, "c")]


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("thing", ["missing", "many"])
def test_deferred_statement_must_change_one_row(store: Store, thing: str, reads: bool) -> None:
    run_batch(store, add_thing("a"), add_thing("b"))

    def bad(transaction: Transaction) -> None:
        add_thing_deferred("c")(transaction)
        if thing == "missing":
            transaction.execute_deferred(GROW, thing=thing, by=1)
        else:
            transaction.execute_deferred(GROW_ALL, by=1)
        if reads:
            transaction.rows(COUNT)

    futures = run_batch(store, bad, add_thing_deferred("d"))
    assert isinstance(futures[0].exception(), RowCountMismatch)
    assert futures[1].result() == "d"
    assert thing_names(store) == ["a", "b", "d"]
    assert store.read(lambda reader: reader.row(SIZE, thing="a")) == (1,)


@pytest.mark.parametrize("ending", ["returns", "reads", "catches", "raises"])
@pytest.mark.parametrize(
    "invalid",
    [
        {"name": "there", "size": 1},  # violates the primary key
        {"name": "bad", "size": -1},  # violates a CHECK
        {"name": "bad", "size": None},  # violates NOT NULL
        {"name": "bad", "size": "much"},  # has the wrong type
        {"name": "bad", "size": 2**63},  # is too large
        {"name": "\ud800", "size": 1},  # is not valid text
    ],
    ids=lambda invalid: f"{invalid['name']!a}, {invalid['size']!r}",
)
def test_deferred_error_equals_immediate_error(store: Store, invalid: dict[str, Any], ending: str) -> None:
    def bad(transaction: Transaction) -> None:
        transaction.execute_deferred(GROW, thing="there", by=1)
        transaction.record_event("s", "thing.grown", "test", {})
        assert transaction.row(CACHED_SIZE, thing="there") == (2,)
        with suppress(Exception) if ending == "catches" else nullcontext():
            transaction.execute_deferred(ADD, **invalid)
            transaction.execute_deferred(ADD, name="behind", size=1)
            if ending in ("reads", "catches"):
                transaction.row(CACHED_SIZE, thing="behind")
        if ending == "raises":
            raise MutationFailed

    store.run(add_thing_deferred("there"))
    [immediate] = run_batch(store, lambda transaction: transaction.execute(ADD, **invalid))
    expected = {type(immediate.exception())} | ({MutationFailed} if ending == "raises" else set())
    first, second, third = run_batch(store, add_thing_deferred("a"), bad, lambda tx: tx.row(CACHED_SIZE, thing="there"))
    assert first.result() == "a"
    assert type(second.exception()) in expected
    assert third.result() == (1,), "a rolled back value was cached"
    store.run(add_thing_deferred("b"))
    assert thing_names(store) == ["a", "b", "there"]
    assert [(event.pos, event.seq, event.data["name"]) for event in all_events(store)] == [
        (1, 1, "there"),
        (2, 2, "a"),
        (3, 3, "b"),
    ]


@pytest.mark.parametrize("size", [1, -1])
def test_deferred_statements_roll_back_with_mutation(store: Store, size: int) -> None:
    def bad(transaction: Transaction) -> None:
        add_thing_deferred("b", size=size)(transaction)
        raise MutationFailed

    futures = run_batch(store, add_thing_deferred("a"), bad, add_thing_deferred("c"))
    assert [future.exception() is None for future in futures] == [True, False, True]
    assert thing_names(store) == ["a", "c"]


def test_unsent_deferred_statements_are_dropped(store: Store) -> None:
    def exiting(transaction: Transaction) -> None:
        add_thing_deferred("a")(transaction)
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        store.run(exiting)
    assert store.run(add_thing_deferred("b")) == "b"
    assert thing_names(store) == ["b"]
    assert [event.seq for event in all_events(store)] == [1]


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_postgresql_write_only_mutation_takes_two_trips(store: Store, round_trips: list[int]) -> None:
    def mutation(transaction: Transaction) -> None:
        for name in "abcde":
            add_thing_deferred(name)(transaction)

    store.run(add_thing_deferred("first"))
    round_trips.clear()
    store.run(mutation)
    assert round_trips == [2 + 5, 1 + 3 + 1], (
        "BEGIN, SAVEPOINT and the deferred statements; RELEASE, the log and COMMIT"
    )


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_postgresql_savepoint_order(store: Store) -> None:
    session = store._engine.writer_cursor()
    session.execute("BEGIN")
    session.execute_deferred("INSERT INTO things VALUES ($1, 1)", [("a",)])
    session.execute("SAVEPOINT here")
    session.execute_deferred("INSERT INTO things VALUES ($1, 1)", [("b",)])
    session.execute("ROLLBACK TO SAVEPOINT here")
    session.execute("COMMIT")
    assert thing_names(store) == ["a"]


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_postgresql_checks_row_counts_before_commit(store: Store) -> None:
    session = store._engine.writer_cursor()
    session.execute("BEGIN")
    session.execute_deferred("INSERT INTO things VALUES ($1, 1)", [("a",)], 2)
    with pytest.raises(RowCountMismatch):
        session.execute("COMMIT")
    store._engine.rollback()
    assert thing_names(store) == []
