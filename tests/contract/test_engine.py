"""Batches run one at a time, on every kind of store: what is committed together, and what is rolled back."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from greenroom.clock import MovedClock
from greenroom.domain.errors import ConfigurationError, StoreUnavailable
from greenroom.domain.event import Event
from greenroom.store import log
from greenroom.store.engine import Engine
from greenroom.store.schema import SCHEMA_VERSION
from greenroom.store.sqlite import Sqlite, SqliteMemory
from greenroom.store.store import DATABASE_NAME, Store
from greenroom.store.transaction import Transaction
from tests.contract.things import (
    ADD,
    COUNT,
    GROW,
    GROWN,
    SIZE,
    Boom,
    Mutation,
    adding,
    everything,
    failing,
    last_pos,
    last_seq,
    names,
    putting,
    tables,
)
from tests.postgres import engine_at


class Heard(list[Event]):
    """Collects published events."""

    def publish(self, events: Any) -> None:
        self.extend(events)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture(params=["file", "memory", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: MovedClock, heard: Heard) -> Iterator[Store]:
    with ExitStack() as stack:
        if request.param == "memory":
            opened = Store.open_memory(clock, publish=heard.publish, tables=tables)
        elif request.param == "file":
            opened = Store.open(tmp_path / "data", clock, publish=heard.publish, tables=tables)
        else:
            url = stack.enter_context(request.getfixturevalue("postgres").database())
            opened = Store.open_still(engine_at(url, clock), clock, publish=heard.publish, tables=tables)
        yield opened
        opened.close()


class Fault(NamedTuple):
    """A failing database: how to cause and repair it, its message, and the driver's errors for it and for a bad row."""

    fill: Callable[[Engine], object]
    mend: Callable[[Engine], object]
    says: str
    driver: tuple[type[Exception], type[Exception]]


def fault_of(store: Store, kind: str) -> Fault:
    """`full`: the disk is full. `readonly`: statements that write are rejected, and the transaction stays open."""
    engine = store._engine

    def run(sql: str) -> Callable[[Engine], object]:
        return lambda engine: (engine.writing().execute(sql), engine.writing().fetchall())

    if isinstance(engine, Sqlite):
        [[pages]] = engine.writing().execute("PRAGMA page_count").fetchall()
        driver = (sqlite3.OperationalError, sqlite3.IntegrityError)
        if kind == "full":
            begin, end = f"PRAGMA max_page_count = {pages + 5}", "PRAGMA max_page_count = 1000000"
            return Fault(run(begin), run(end), "full", driver)
        return Fault(run("PRAGMA query_only = ON"), run("PRAGMA query_only = OFF"), "readonly", driver)
    if kind == "full":
        # A trigger raises PostgreSQL's error for a full disk, since a test cannot fill a real one.
        for sql in FULL_WHEN_LARGE:
            run(sql)(engine)
        begin = "ALTER TABLE things ENABLE TRIGGER full_disk"
        return Fault(run(begin), run("ALTER TABLE things DISABLE TRIGGER full_disk"), "No space left", PSYCOPG)
    return Fault(run("SET TRANSACTION READ ONLY"), lambda engine: None, "read-only", PSYCOPG)


PSYCOPG = (psycopg.Error, psycopg.IntegrityError)
FULL_WHEN_LARGE = (
    """
    CREATE OR REPLACE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF length(NEW.name) > 1000 THEN
        RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
    END IF; RETURN NEW; END $$
    """,
    "CREATE OR REPLACE TRIGGER full_disk BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION full_disk()",
)


def run_batch(store: Store, *mutations: Mutation) -> list[Future[Any]]:
    return store.writer.run_batch(mutations)


def test_events_are_numbered_in_their_stream_and_in_commit_order(store: Store, heard: Heard) -> None:
    run_batch(store, adding("a", "red"), adding("b", "blue"))
    store.run(adding("c", "red"))

    numbered = [(event.pos, event.stream, event.seq, event.data["name"]) for event in everything(store)]
    assert numbered == [(1, "red", 1, "a"), (2, "blue", 1, "b"), (3, "red", 2, "c")]
    assert everything(store) == heard
    assert (last_pos(store), last_seq(store, "red"), last_seq(store, "blue"), last_seq(store, "grey")) == (3, 2, 1, 0)


def test_one_mutation_may_record_in_several_streams(store: Store) -> None:
    def mutation(transaction: Transaction) -> list[str]:
        for stream in ("red", "blue", "red"):
            transaction.record(stream, "thing.seen", "test", {})
        return [event.stream for event in transaction.events]

    assert store.run(mutation) == ["red", "blue", "red"]
    assert [(event.pos, event.stream, event.seq) for event in everything(store)] == [
        (1, "red", 1),
        (2, "blue", 1),
        (3, "red", 2),
    ]


def test_a_mutation_that_raises_takes_only_itself_away(store: Store, heard: Heard) -> None:
    good, bad, after = run_batch(store, adding("a"), failing("b"), adding("c"))

    assert good.result() == "a"
    assert after.result() == "c"
    assert isinstance(bad.exception(), Boom)
    assert names(store) == ["a", "c"]
    assert [(event.pos, event.seq, event.data["name"]) for event in everything(store)] == [(1, 1, "a"), (2, 2, "c")]
    assert everything(store) == heard


def test_a_rollback_alone_publishes_nothing_and_leaves_no_gap(store: Store, heard: Heard) -> None:
    with pytest.raises(Boom):
        store.run(failing("a"))
    assert heard == []
    assert last_pos(store) == 0

    store.run(adding("b"))
    assert [(event.pos, event.seq) for event in heard] == [(1, 1)]


def test_data_is_kept_as_it_was_when_it_was_recorded(store: Store, heard: Heard) -> None:
    def mutation(transaction: Transaction) -> None:
        data: dict[str, object] = {"roles": ("a", "b")}
        transaction.record("s", "thing.seen", "test", data)
        data["roles"] = None

    store.run(mutation)
    assert heard[0].data == {"roles": ["a", "b"]}
    assert everything(store) == heard


def test_each_mutation_has_one_now(store: Store, clock: MovedClock) -> None:
    def mutation(transaction: Transaction) -> tuple[float, float]:
        before = transaction.now
        clock.move(5)
        transaction.record("s", "thing.seen", "test", {})
        return before.monotonic, transaction.now.monotonic

    first, second = (future.result() for future in run_batch(store, mutation, mutation))
    assert first[0] == first[1]
    assert second == (first[0] + 5, first[0] + 5)
    assert [event.at[-7:] for event in everything(store)] == ["20.000Z", "25.000Z"]


def test_effects_run_after_the_commit_in_commit_order_and_before_the_answers(store: Store, heard: Heard) -> None:
    told: list[object] = []

    def saying(word: str, fails: bool) -> Mutation:
        def mutation(transaction: Transaction) -> str:
            transaction.after_commit(lambda: told.append((word, len(names(store)), len(heard))))
            transaction.if_abandoned(lambda: told.append(f"not {word}"))
            return str((failing if fails else adding)(word)(transaction))

        return mutation

    run_batch(store, saying("a", False), saying("b", True), saying("c", False))
    assert told == [("a", 2, 0), "not b", ("c", 2, 0)]
    assert len(heard) == 2


def test_an_effect_that_raises_is_counted_and_harms_nobody(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    def bad_effect() -> None:
        raise Boom("effect")

    def first(transaction: Transaction) -> str:
        transaction.after_commit(bad_effect)
        return "done"

    def second(transaction: Transaction) -> None:
        transaction.after_commit(lambda: told.append("second"))

    done, _ = run_batch(store, first, second)
    assert done.result() == "done"
    assert told == ["second"]
    assert store.writer.failures == 1
    assert "callback of a batch failed" in caplog.text


@pytest.mark.parametrize("write", [adding, putting])
@pytest.mark.parametrize("swallow", [False, True])
def test_a_full_disk_in_mid_batch_applies_nothing_and_then_goes_on(
    store: Store, heard: Heard, swallow: bool, write: Callable[[str], Mutation]
) -> None:
    told: list[str] = []

    def filling(transaction: Transaction) -> None:
        transaction.if_abandoned(lambda: told.append("filling"))
        try:
            write("x" * 1_000_000)(transaction)
        except fault.driver[0]:
            if not swallow:
                raise

    def marked(transaction: Transaction) -> None:
        adding("before")(transaction)
        transaction.after_commit(lambda: told.append("never"))
        transaction.if_abandoned(lambda: told.append("marked"))

    store.run(adding("first"))
    fault = fault_of(store, "full")
    fault.fill(store._engine)
    futures = run_batch(store, marked, filling, adding("after"))
    fault.mend(store._engine)

    for future in futures:
        error = future.exception()
        assert isinstance(error, StoreUnavailable)
        assert error.retryable
        assert fault.says in error.detail
    assert told == ["marked", "filling"]
    assert names(store) == ["first"]

    store.run(adding("second"))
    assert names(store) == ["first", "second"]
    assert [(event.pos, event.seq, event.data["name"]) for event in heard] == [(1, 1, "first"), (2, 2, "second")]


@pytest.mark.parametrize("write", [adding, putting])
def test_an_outage_fails_the_batch_even_if_the_mutation_gives_it_another_name(
    store: Store, write: Callable[[str], Mutation]
) -> None:
    fault = fault_of(store, "readonly")

    def mutation(transaction: Transaction) -> None:
        fault.fill(store._engine)  # Unlike a full disk, this leaves the transaction open.
        try:
            write("a")(transaction)
        except fault.driver[0] as error:
            raise Boom from error

    for future in run_batch(store, lambda transaction: transaction.rows(COUNT), mutation):
        error = future.exception()
        assert isinstance(error, StoreUnavailable)
        assert fault.says in error.detail
    fault.mend(store._engine)
    store.run(adding("b"))
    assert names(store) == ["b"]


def test_a_statement_that_failed_ends_its_mutation_even_if_that_catches_the_error(store: Store) -> None:
    driver = fault_of(store, "readonly").driver

    def mutation(transaction: Transaction) -> None:
        with pytest.raises(driver[1]):
            transaction.change(ADD, name="a", size=-1)
        with pytest.raises(RuntimeError, match="failed earlier"):
            transaction.rows(COUNT)

    other, bad = run_batch(store, adding("b"), mutation)
    assert other.result() == "b"
    assert isinstance(bad.exception(), driver[1])
    assert names(store) == ["b"]


def test_counts_and_rows(store: Store) -> None:
    def mutation(transaction: Transaction) -> list[object]:
        added = transaction.change_many(ADD, [{"name": name, "size": 1} for name in "abc"])
        return [
            added,
            transaction.change_many(ADD, []),
            transaction.change(GROW, thing="a", by=2),
            transaction.change(GROW, thing="nobody", by=2),
            transaction.rows(GROWN, thing="a", by=2),
            transaction.row(SIZE, thing="a"),
            transaction.row(SIZE, thing="nobody"),
        ]

    assert store.run(mutation) == [3, 0, 1, 0, [(5,)], (5,), None]


def test_a_transaction_is_of_no_use_after_its_mutation(store: Store) -> None:
    kept = store.run(lambda transaction: transaction)
    with pytest.raises(RuntimeError, match="has returned"):
        kept.rows(COUNT)
    reader = store.read(lambda reader: reader)
    with pytest.raises(RuntimeError, match="has returned"):
        reader.rows(COUNT)


def test_a_query_cannot_write(store: Store) -> None:
    with pytest.raises(TypeError, match="only reads"):
        store.read(lambda reader: reader.rows(GROWN, thing="a", by=1))


def test_a_query_that_raises_leaves_the_store_usable(store: Store) -> None:
    def query(reader: object) -> None:
        raise Boom

    with pytest.raises(Boom):
        store.read(query)
    store.run(adding("a"))
    assert names(store) == ["a"]


def test_a_mutation_cannot_run_another_one_inside_itself(store: Store) -> None:
    def nested(transaction: Transaction) -> None:
        adding("a")(transaction)
        store.run(adding("b"))

    with pytest.raises(RuntimeError, match="ran another mutation"):
        store.run(nested)
    store.run(adding("c"))
    assert names(store) == ["c"]


def test_a_query_inside_a_mutation_does_no_harm(store: Store) -> None:
    def mutation(transaction: Transaction) -> None:
        adding("a")(transaction)
        assert names(store) == []  # On a file it sees what is committed; in memory there is no second connection.

    future, other = run_batch(store, mutation, adding("b"))
    other.result()
    if isinstance(store._engine, SqliteMemory):
        assert isinstance(future.exception(), RuntimeError)
        assert names(store) == ["b"]
    else:
        assert future.exception() is None
        assert names(store) == ["a", "b"]


def test_pages_of_the_log(store: Store) -> None:
    run_batch(store, *[adding(name, stream) for name, stream in zip("abcdef", ["red", "blue"] * 3, strict=True)])

    def named(query: Any) -> list[str]:
        return [event.data["name"] for event in store.read(query)]

    assert named(lambda reader: log.events_after(reader, "red", 1, 10)) == ["c", "e"]
    assert named(lambda reader: log.events_after(reader, "red", 0, 2)) == ["a", "c"]
    assert named(lambda reader: log.all_after(reader, 2, 3)) == ["c", "d", "e"]


def test_what_was_committed_is_there_after_a_restart(tmp_path: Path, clock: MovedClock) -> None:
    for name in ("a", "b"):
        store = Store.open(tmp_path, clock, tables=tables)
        store.write(adding(name))
        store.close()
    store = Store.open(tmp_path, clock, tables=tables)
    assert [(event.pos, event.seq, event.data["name"]) for event in everything(store)] == [(1, 1, "a"), (2, 2, "b")]
    store.close()


def test_files_are_for_their_owner_alone(tmp_path: Path, clock: MovedClock) -> None:
    directory = tmp_path / "data"
    store = Store.open(directory, clock, tables=tables)
    store.run(adding("a"))
    modes = {path.name: path.stat().st_mode & 0o777 for path in [directory, *directory.iterdir()]}
    store.close()
    assert modes == {
        "data": 0o700,
        "greenroom.db": 0o600,
        "greenroom.db-wal": 0o600,
        "greenroom.db-shm": 0o600,
        "server.lock": 0o600,
    }


def test_the_writer_waits_for_the_disk(tmp_path: Path, clock: MovedClock) -> None:
    store = Store.open(tmp_path, clock, tables=tables)
    engine = store._engine
    assert isinstance(engine, Sqlite)
    cursor = engine.writing()
    settings = [
        cursor.execute(f"PRAGMA {name}").fetchall()[0][0] for name in ("journal_mode", "synchronous", "foreign_keys")
    ]
    store.close()
    assert settings == ["wal", 2, 1]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (f"PRAGMA user_version = {SCHEMA_VERSION + 1}", "newer Greenroom"),
        ("CREATE TABLE recipes (name)", "not a Greenroom database"),
    ],
)
def test_a_database_that_is_not_ours_is_left_alone(tmp_path: Path, clock: MovedClock, script: str, says: str) -> None:
    path = tmp_path / DATABASE_NAME
    with sqlite3.connect(path) as connection:
        connection.execute(script)
    connection.close()
    for _ in range(2):  # The second time shows that the lock was released.
        with pytest.raises(ConfigurationError, match=says):
            Store.open(tmp_path, clock, tables=tables)


def test_a_file_that_is_no_database_is_told_as_such(tmp_path: Path, clock: MovedClock) -> None:
    (tmp_path / DATABASE_NAME).write_text("not a database " * 500)
    with pytest.raises(ConfigurationError, match="file is not a database"):
        Store.open(tmp_path, clock, tables=tables)
