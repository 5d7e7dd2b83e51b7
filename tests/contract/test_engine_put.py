"""Deferred statements, on every kind of store: they run in order, and are checked before the commit."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, nullcontext, suppress
from typing import Any

import pytest
from sqlalchemy import bindparam, update

from greenroom.clock import MovedClock
from greenroom.store.engine import RowsDiffer
from greenroom.store.postgres.session import Session
from greenroom.store.statement import Statement
from greenroom.store.store import Store
from greenroom.store.transaction import Transaction
from tests.contract.hosted import still
from tests.contract.things import (
    ADD,
    COUNT,
    GROW,
    GROWN,
    KEPT_SIZE,
    SIZE,
    Boom,
    adding,
    everything,
    names,
    putting,
    tables,
    things,
)

GROW_ALL = Statement(update(things).values(size=things.c.size + bindparam("by")))


@pytest.fixture(params=["memory", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with ExitStack() as stack:
        if request.param == "memory":
            opened = Store.open_memory(MovedClock(), tables=tables)
        else:
            opened = still(stack.enter_context(request.getfixturevalue("postgres").database()))
        yield opened
        opened.close()


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of commands in each round trip."""
    counted: list[int] = []
    take_in = Session._take_in

    def counting(session: Session, sent: Any) -> None:
        counted.append(len(sent))
        take_in(session, sent)

    monkeypatch.setattr(Session, "_take_in", counting)
    return counted


def run_batch(store: Store, *mutations: Any) -> list[Future[Any]]:
    return store.writer.run_batch(mutations)


def test_what_is_put_is_there_for_whatever_comes_after_it(store: Store) -> None:
    def mutation(transaction: Transaction) -> list[Any]:
        transaction.put(ADD, name="a", size=1)
        seen: list[Any] = [transaction.row(SIZE, thing="a")]
        transaction.put(GROW, thing="a", by=2)
        transaction.put_many(ADD, [{"name": name, "size": 1} for name in "bc"])
        transaction.put_many(ADD, [])
        seen += [transaction.change(GROW, thing="a", by=4), *transaction.rows(GROWN, thing="a", by=8)]
        transaction.put_many(GROW_ALL, [{"by": 1}])
        return [*seen, transaction.row(COUNT), transaction.row(SIZE, thing="a")]

    assert store.run(mutation) == [(1,), 1, (15,), (3,), (16,)]
    assert names(store) == ["a", "b", "c"]


@pytest.mark.parametrize("looks", [False, True])
def test_what_is_put_and_fails_takes_only_its_mutation_away(store: Store, looks: bool) -> None:
    def bad(transaction: Transaction) -> None:
        putting("b", size=-1)(transaction)
        if looks:
            transaction.rows(COUNT)

    futures = run_batch(store, putting("a"), bad, putting("c"))
    assert [future.exception() is None for future in futures] == [True, False, True]
    assert "size" in str(futures[1].exception())
    assert names(store) == ["a", "c"]
    assert [(event.seq, event.data["name"]) for event in everything(store)] == [(1, "a"), (2, "c")]


@pytest.mark.parametrize("looks", [False, True])
@pytest.mark.parametrize("thing", ["nobody", "many"])
def test_what_is_put_must_touch_one_row(store: Store, thing: str, looks: bool) -> None:
    run_batch(store, adding("a"), adding("b"))

    def bad(transaction: Transaction) -> None:
        putting("c")(transaction)
        if thing == "nobody":
            transaction.put(GROW, thing=thing, by=1)
        else:
            transaction.put(GROW_ALL, by=1)
        if looks:
            transaction.rows(COUNT)

    futures = run_batch(store, bad, putting("d"))
    assert isinstance(futures[0].exception(), RowsDiffer)
    assert futures[1].result() == "d"
    assert names(store) == ["a", "b", "d"]
    assert store.read(lambda reader: reader.row(SIZE, thing="a")) == (1,)


@pytest.mark.parametrize("goes_on", ["at once", "looks", "catches it", "raises"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "there", "size": 1},  # violates the primary key
        {"name": "bad", "size": -1},  # violates a CHECK
        {"name": "bad", "size": None},  # violates NOT NULL
        {"name": "bad", "size": "much"},  # has the wrong type
        {"name": "bad", "size": 2**63},  # is too large
        {"name": "\ud800", "size": 1},  # is not valid text
    ],
    ids=lambda wrong: f"{wrong['name']!a}, {wrong['size']!r}",
)
def test_whatever_is_wrong_with_what_is_put_is_told_as_if_somebody_had_waited(
    store: Store, wrong: dict[str, Any], goes_on: str
) -> None:
    def bad(transaction: Transaction) -> None:
        transaction.put(GROW, thing="there", by=1)
        transaction.record("s", "thing.grown", "test", {})
        assert transaction.row(KEPT_SIZE, thing="there") == (2,)
        with suppress(Exception) if goes_on == "catches it" else nullcontext():
            transaction.put(ADD, **wrong)
            transaction.put(ADD, name="behind", size=1)
            if goes_on in ("looks", "catches it"):
                transaction.row(KEPT_SIZE, thing="behind")
        if goes_on == "raises":
            raise Boom

    store.run(putting("there"))
    [waiting] = run_batch(store, lambda transaction: transaction.change(ADD, **wrong))
    expected = {type(waiting.exception())} | ({Boom} if goes_on == "raises" else set())
    first, second, third = run_batch(store, putting("a"), bad, lambda tx: tx.row(KEPT_SIZE, thing="there"))
    assert first.result() == "a"
    assert type(second.exception()) in expected
    assert third.result() == (1,), "a rolled back value was cached"
    store.run(putting("b"))
    assert names(store) == ["a", "b", "there"]
    assert [(event.pos, event.seq, event.data["name"]) for event in everything(store)] == [
        (1, 1, "there"),
        (2, 2, "a"),
        (3, 3, "b"),
    ]


@pytest.mark.parametrize("size", [1, -1])
def test_what_was_put_goes_with_its_mutation(store: Store, size: int) -> None:
    def bad(transaction: Transaction) -> None:
        putting("b", size=size)(transaction)
        raise Boom

    futures = run_batch(store, putting("a"), bad, putting("c"))
    assert [future.exception() is None for future in futures] == [True, False, True]
    assert names(store) == ["a", "c"]


def test_what_was_put_goes_with_its_batch_before_anything_was_sent(store: Store) -> None:
    def dying(transaction: Transaction) -> None:
        putting("a")(transaction)
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        store.run(dying)
    assert store.run(putting("b")) == "b"
    assert names(store) == ["b"]
    assert [event.seq for event in everything(store)] == [1]


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_on_postgresql_a_mutation_that_only_writes_takes_two_trips(store: Store, trips: list[int]) -> None:
    def mutation(transaction: Transaction) -> None:
        for name in "abcde":
            putting(name)(transaction)

    store.run(putting("first"))
    trips.clear()
    store.run(mutation)
    assert trips == [2 + 5, 1 + 3 + 1], "BEGIN, SAVEPOINT and the deferred statements; RELEASE, the log and COMMIT"


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_on_postgresql_a_savepoint_is_between_what_was_put_before_and_after_it(store: Store) -> None:
    session = store._engine.writing()
    session.execute("BEGIN")
    session.put("INSERT INTO things VALUES ($1, 1)", [("a",)])
    session.execute("SAVEPOINT here")
    session.put("INSERT INTO things VALUES ($1, 1)", [("b",)])
    session.execute("ROLLBACK TO SAVEPOINT here")
    session.execute("COMMIT")
    assert names(store) == ["a"]


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_on_postgresql_nothing_is_durable_before_its_rows_were_counted(store: Store) -> None:
    session = store._engine.writing()
    session.execute("BEGIN")
    session.put("INSERT INTO things VALUES ($1, 1)", [("a",)], 2)
    with pytest.raises(RowsDiffer):
        session.execute("COMMIT")
    store._engine.abandon()
    assert names(store) == []
