"""Batches run one at a time, on every kind of store: what is committed together, and what is rolled back."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from greenroom.domain.errors import ConfigurationError, StoreUnavailable
from greenroom.store import event_log
from greenroom.store.engine import Engine
from greenroom.store.schema import SCHEMA_VERSION
from greenroom.store.sqlite import SqliteEngine, SqliteMemoryEngine
from greenroom.store.store import DATABASE_NAME, Store
from greenroom.store.transaction import Transaction
from greenroom.testing import MovedClock
from tests.contract.postgres_stores import PublishedEvents
from tests.contract.things_table import (
    ADD,
    COUNT,
    GROW,
    GROW_RETURNING_SIZE,
    SIZE,
    Mutation,
    MutationFailed,
    add_thing,
    add_thing_deferred,
    all_events,
    fail_after_add,
    last_pos,
    last_seq,
    tables,
    thing_names,
)
from tests.postgres import make_engine


@pytest.fixture
def published() -> PublishedEvents:
    return PublishedEvents()


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture(params=["file", "memory", "postgresql"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: MovedClock, published: PublishedEvents
) -> Iterator[Store]:
    with ExitStack() as stack:
        if request.param == "memory":
            opened = Store.open_memory(clock, publish=published.publish, tables=tables)
        elif request.param == "file":
            opened = Store.open(tmp_path / "data", clock, publish=published.publish, tables=tables)
        else:
            url = stack.enter_context(request.getfixturevalue("postgres").database())
            opened = Store.open_without_thread(make_engine(url, clock), clock, publish=published.publish, tables=tables)
        yield opened
        opened.close()


class DatabaseFault(NamedTuple):
    """A failing database: how to cause and repair it, its message, and the driver's errors for it and for a bad row."""

    cause: Callable[[Engine], object]
    repair: Callable[[Engine], object]
    message: str
    driver_errors: tuple[type[Exception], type[Exception]]


def make_fault(store: Store, kind: str) -> DatabaseFault:
    """`full`: the disk is full. `readonly`: statements that write are rejected, and the transaction stays open."""
    engine = store._engine

    def run(sql: str) -> Callable[[Engine], object]:
        return lambda engine: (engine.writer_cursor().execute(sql), engine.writer_cursor().fetchall())

    if isinstance(engine, SqliteEngine):
        [[pages]] = engine.writer_cursor().execute("PRAGMA page_count").fetchall()
        driver_errors = (sqlite3.OperationalError, sqlite3.IntegrityError)
        if kind == "full":
            begin, end = f"PRAGMA max_page_count = {pages + 5}", "PRAGMA max_page_count = 1000000"
            return DatabaseFault(run(begin), run(end), "full", driver_errors)
        return DatabaseFault(run("PRAGMA query_only = ON"), run("PRAGMA query_only = OFF"), "readonly", driver_errors)
    if kind == "full":
        # A trigger raises PostgreSQL's error for a full disk, since a test cannot fill a real one.
        for sql in FULL_WHEN_LARGE:
            run(sql)(engine)
        begin = "ALTER TABLE things ENABLE TRIGGER full_disk"
        return DatabaseFault(run(begin), run("ALTER TABLE things DISABLE TRIGGER full_disk"), "No space left", PSYCOPG)
    return DatabaseFault(run("SET TRANSACTION READ ONLY"), lambda engine: None, "read-only", PSYCOPG)


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


def test_event_numbers(store: Store, published: PublishedEvents) -> None:
    run_batch(store, add_thing("a", "red"), add_thing("b", "blue"))
    store.run(add_thing("c", "red"))

    numbered = [(event.pos, event.stream, event.seq, event.data["name"]) for event in all_events(store)]
    assert numbered == [(1, "red", 1, "a"), (2, "blue", 1, "b"), (3, "red", 2, "c")]
    assert all_events(store) == published
    assert (last_pos(store), last_seq(store, "red"), last_seq(store, "blue"), last_seq(store, "grey")) == (3, 2, 1, 0)


def test_mutation_records_in_several_streams(store: Store) -> None:
    def mutation(transaction: Transaction) -> list[str]:
        for stream in ("red", "blue", "red"):
            transaction.record_event(stream, "thing.seen", "test", {})
        return [event.stream for event in transaction.events]

    assert store.run(mutation) == ["red", "blue", "red"]
    assert [(event.pos, event.stream, event.seq) for event in all_events(store)] == [
        (1, "red", 1),
        (2, "blue", 1),
        (3, "red", 2),
    ]


def test_raising_mutation_rolls_back_alone(store: Store, published: PublishedEvents) -> None:
    good, bad, after = run_batch(store, add_thing("a"), fail_after_add("b"), add_thing("c"))

    assert good.result() == "a"
    assert after.result() == "c"
    assert isinstance(bad.exception(), MutationFailed)
    assert thing_names(store) == ["a", "c"]
    assert [(event.pos, event.seq, event.data["name"]) for event in all_events(store)] == [(1, 1, "a"), (2, 2, "c")]
    assert all_events(store) == published


def test_rollback_publishes_nothing_and_leaves_no_gap(store: Store, published: PublishedEvents) -> None:
    with pytest.raises(MutationFailed):
        store.run(fail_after_add("a"))
    assert published == []
    assert last_pos(store) == 0

    store.run(add_thing("b"))
    assert [(event.pos, event.seq) for event in published] == [(1, 1)]


def test_event_data_is_copied_when_recorded(store: Store, published: PublishedEvents) -> None:
    def mutation(transaction: Transaction) -> None:
        data: dict[str, object] = {"roles": ("a", "b")}
        transaction.record_event("s", "thing.seen", "test", data)
        data["roles"] = None

    store.run(mutation)
    assert published[0].data == {"roles": ["a", "b"]}
    assert all_events(store) == published


def test_one_now_per_mutation(store: Store, clock: MovedClock) -> None:
    def mutation(transaction: Transaction) -> tuple[float, float]:
        before = transaction.now
        clock.advance(5)
        transaction.record_event("s", "thing.seen", "test", {})
        return before.monotonic, transaction.now.monotonic

    first, second = (future.result() for future in run_batch(store, mutation, mutation))
    assert first[0] == first[1]
    assert second == (first[0] + 5, first[0] + 5)
    assert [event.at[-7:] for event in all_events(store)] == ["20.000Z", "25.000Z"]


def test_commit_callbacks_run_in_commit_order(store: Store, published: PublishedEvents) -> None:
    calls: list[object] = []

    def with_callbacks(word: str, fails: bool) -> Mutation:
        def mutation(transaction: Transaction) -> str:
            transaction.on_commit(lambda: calls.append((word, len(thing_names(store)), len(published))))
            transaction.on_rollback(lambda: calls.append(f"not {word}"))
            return str((fail_after_add if fails else add_thing)(word)(transaction))

        return mutation

    run_batch(store, with_callbacks("a", False), with_callbacks("b", True), with_callbacks("c", False))
    assert calls == [("a", 2, 0), "not b", ("c", 2, 0)]
    assert len(published) == 2


def test_raising_commit_callback_is_counted(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []

    def bad_effect() -> None:
        raise MutationFailed("effect")

    def first(transaction: Transaction) -> str:
        transaction.on_commit(bad_effect)
        return "done"

    def second(transaction: Transaction) -> None:
        transaction.on_commit(lambda: calls.append("second"))

    done, _ = run_batch(store, first, second)
    assert done.result() == "done"
    assert calls == ["second"]
    assert store.writer.callback_failures == 1
    assert "callback of a batch failed" in caplog.text


@pytest.mark.parametrize("write", [add_thing, add_thing_deferred])
@pytest.mark.parametrize("catches", [False, True])
def test_full_disk_rolls_back_batch(
    store: Store, published: PublishedEvents, catches: bool, write: Callable[[str], Mutation]
) -> None:
    calls: list[str] = []

    def filling(transaction: Transaction) -> None:
        transaction.on_rollback(lambda: calls.append("filling"))
        try:
            write("x" * 1_000_000)(transaction)
        except fault.driver_errors[0]:
            if not catches:
                raise

    def marked(transaction: Transaction) -> None:
        add_thing("before")(transaction)
        transaction.on_commit(lambda: calls.append("never"))
        transaction.on_rollback(lambda: calls.append("marked"))

    store.run(add_thing("first"))
    fault = make_fault(store, "full")
    fault.cause(store._engine)
    futures = run_batch(store, marked, filling, add_thing("after"))
    fault.repair(store._engine)

    for future in futures:
        error = future.exception()
        assert isinstance(error, StoreUnavailable)
        assert error.retryable
        assert fault.message in error.detail
    assert calls == ["marked", "filling"]
    assert thing_names(store) == ["first"]

    store.run(add_thing("second"))
    assert thing_names(store) == ["first", "second"]
    assert [(event.pos, event.seq, event.data["name"]) for event in published] == [(1, 1, "first"), (2, 2, "second")]


@pytest.mark.parametrize("write", [add_thing, add_thing_deferred])
def test_outage_fails_batch_despite_other_exception(store: Store, write: Callable[[str], Mutation]) -> None:
    fault = make_fault(store, "readonly")

    def mutation(transaction: Transaction) -> None:
        fault.cause(store._engine)  # Unlike a full disk, this leaves the transaction open.
        try:
            write("a")(transaction)
        except fault.driver_errors[0] as error:
            raise MutationFailed from error

    for future in run_batch(store, lambda transaction: transaction.rows(COUNT), mutation):
        error = future.exception()
        assert isinstance(error, StoreUnavailable)
        assert fault.message in error.detail
    fault.repair(store._engine)
    store.run(add_thing("b"))
    assert thing_names(store) == ["b"]


def test_failed_statement_ends_mutation_despite_catch(store: Store) -> None:
    driver_errors = make_fault(store, "readonly").driver_errors

    def mutation(transaction: Transaction) -> None:
        with pytest.raises(driver_errors[1]):
            transaction.execute(ADD, name="a", size=-1)
        with pytest.raises(RuntimeError, match="failed earlier"):
            transaction.rows(COUNT)

    other, bad = run_batch(store, add_thing("b"), mutation)
    assert other.result() == "b"
    assert isinstance(bad.exception(), driver_errors[1])
    assert thing_names(store) == ["b"]


def test_row_counts_and_rows(store: Store) -> None:
    def mutation(transaction: Transaction) -> list[object]:
        added = transaction.execute_many(ADD, [{"name": name, "size": 1} for name in "abc"])
        return [
            added,
            transaction.execute_many(ADD, []),
            transaction.execute(GROW, thing="a", by=2),
            transaction.execute(GROW, thing="missing", by=2),
            transaction.rows(GROW_RETURNING_SIZE, thing="a", by=2),
            transaction.row(SIZE, thing="a"),
            transaction.row(SIZE, thing="missing"),
        ]

    assert store.run(mutation) == [3, 0, 1, 0, [(5,)], (5,), None]


def test_transaction_is_closed_after_mutation(store: Store) -> None:
    kept = store.run(lambda transaction: transaction)
    with pytest.raises(RuntimeError, match="has returned"):
        kept.rows(COUNT)
    reader = store.read(lambda reader: reader)
    with pytest.raises(RuntimeError, match="has returned"):
        reader.rows(COUNT)


def test_query_cannot_write(store: Store) -> None:
    with pytest.raises(TypeError, match="only reads"):
        store.read(lambda reader: reader.rows(GROW_RETURNING_SIZE, thing="a", by=1))


def test_store_usable_after_raising_query(store: Store) -> None:
    def query(reader: object) -> None:
        raise MutationFailed

    with pytest.raises(MutationFailed):
        store.read(query)
    store.run(add_thing("a"))
    assert thing_names(store) == ["a"]


def test_nested_mutation_is_rejected(store: Store) -> None:
    def nested(transaction: Transaction) -> None:
        add_thing("a")(transaction)
        store.run(add_thing("b"))

    with pytest.raises(RuntimeError, match="ran another mutation"):
        store.run(nested)
    store.run(add_thing("c"))
    assert thing_names(store) == ["c"]


def test_query_inside_mutation(store: Store) -> None:
    def mutation(transaction: Transaction) -> None:
        add_thing("a")(transaction)
        assert thing_names(store) == []  # On a file it sees what is committed; in memory there is no second connection.

    future, other = run_batch(store, mutation, add_thing("b"))
    other.result()
    if isinstance(store._engine, SqliteMemoryEngine):
        assert isinstance(future.exception(), RuntimeError)
        assert thing_names(store) == ["b"]
    else:
        assert future.exception() is None
        assert thing_names(store) == ["a", "b"]


def test_log_paging(store: Store) -> None:
    run_batch(store, *[add_thing(name, stream) for name, stream in zip("abcdef", ["red", "blue"] * 3, strict=True)])

    def named(query: Any) -> list[str]:
        return [event.data["name"] for event in store.read(query)]

    assert named(lambda reader: event_log.list_events_after(reader, "red", 1, 10)) == ["c", "e"]
    assert named(lambda reader: event_log.list_events_after(reader, "red", 0, 2)) == ["a", "c"]
    assert named(lambda reader: event_log.list_all_after(reader, 2, 3)) == ["c", "d", "e"]


def test_commits_survive_restart(tmp_path: Path, clock: MovedClock) -> None:
    for name in ("a", "b"):
        store = Store.open(tmp_path, clock, tables=tables)
        store.write(add_thing(name))
        store.close()
    store = Store.open(tmp_path, clock, tables=tables)
    assert [(event.pos, event.seq, event.data["name"]) for event in all_events(store)] == [(1, 1, "a"), (2, 2, "b")]
    store.close()


def test_file_modes(tmp_path: Path, clock: MovedClock) -> None:
    directory = tmp_path / "data"
    store = Store.open(directory, clock, tables=tables)
    store.run(add_thing("a"))
    modes = {path.name: path.stat().st_mode & 0o777 for path in [directory, *directory.iterdir()]}
    store.close()
    assert modes == {
        "data": 0o700,
        "greenroom.db": 0o600,
        "greenroom.db-wal": 0o600,
        "greenroom.db-shm": 0o600,
        "server.lock": 0o600,
    }


def test_sqlite_durability_settings(tmp_path: Path, clock: MovedClock) -> None:
    store = Store.open(tmp_path, clock, tables=tables)
    engine = store._engine
    assert isinstance(engine, SqliteEngine)
    cursor = engine.writer_cursor()
    settings = [
        cursor.execute(f"PRAGMA {name}").fetchall()[0][0] for name in ("journal_mode", "synchronous", "foreign_keys")
    ]
    store.close()
    assert settings == ["wal", 2, 1]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (f"PRAGMA user_version = {SCHEMA_VERSION + 1}", "newer Greenroom"),
        ("CREATE TABLE recipes (name)", "not a Greenroom database"),
    ],
)
def test_foreign_database_is_rejected(tmp_path: Path, clock: MovedClock, script: str, message: str) -> None:
    path = tmp_path / DATABASE_NAME
    with sqlite3.connect(path) as connection:
        connection.execute(script)
    connection.close()
    for _ in range(2):  # The second time shows that the lock was released.
        with pytest.raises(ConfigurationError, match=message):
            Store.open(tmp_path, clock, tables=tables)


def test_non_database_file_is_rejected(tmp_path: Path, clock: MovedClock) -> None:
    (tmp_path / DATABASE_NAME).write_text("not a database " * 500)
    with pytest.raises(ConfigurationError, match="file is not a database"):
        Store.open(tmp_path, clock, tables=tables)
