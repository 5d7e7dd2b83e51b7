"""The writer's thread on a file and on PostgreSQL: batches, results, limits and failures."""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest

from greenroom.clock import SystemClock
from greenroom.domain.errors import StoreOverloaded, StoreUnavailable
from greenroom.domain.limits import Limits
from greenroom.store.group_commit import Resolution
from greenroom.store.postgres.pipeline import PostgresSession
from greenroom.store.sqlite import SqliteCursor, SqliteFileEngine
from greenroom.store.store import DATABASE_NAME, Store
from greenroom.store.transaction import Reader, Transaction
from greenroom.store.writer import resolve_all
from tests.contract.things_table import (
    COUNT,
    MutationFailed,
    add_thing,
    all_events,
    fail_after_add,
    last_pos,
    tables,
    thing_names,
    writer_blocked,
)
from tests.postgres import LENIENT_LIMITS
from tests.waiting import PATIENCE_S

Opener = Callable[..., Store]


@contextmanager
def store_opener(directory: Path, database: str | None) -> Iterator[Opener]:
    opened: list[Store] = []

    def opener(**settings: Any) -> Store:
        settings = {"limits": LENIENT_LIMITS, **settings}
        opened.append(Store.open(directory, SystemClock(), database=database, tables=tables, **settings))
        return opened[-1]

    yield opener
    for store in opened:
        store.close()


@pytest.fixture(params=["file", "postgresql"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    with ExitStack() as stack:
        database = None
        if request.param == "postgresql":
            database = stack.enter_context(request.getfixturevalue("postgres").database())
        yield stack.enter_context(store_opener(tmp_path, database))


@pytest.fixture
def open_file(tmp_path: Path) -> Iterator[Opener]:
    with store_opener(tmp_path, None) as opener:
        yield opener


def record_commands(store: Store, commands: list[str]) -> None:
    """Append the commands that the writer's connection runs to a list."""
    cursor = store._engine.writer_cursor()
    if isinstance(cursor, sqlite3.Cursor):
        cursor.connection.set_trace_callback(commands.append)
        return
    assert isinstance(cursor, PostgresSession)
    command = cursor._run_command

    def recording(sql: str) -> None:
        commands.append(sql)
        command(sql)

    cursor._run_command = recording  # type: ignore[method-assign]


def results(futures: Sequence[Future[Any]]) -> list[Any]:
    return [future.result(PATIENCE_S) for future in futures]


def test_queued_mutations_commit_in_batches(open_store: Opener) -> None:
    store = open_store(limits=Limits(writer_batch_max=40))
    commits: list[str] = []
    with writer_blocked(store):
        record_commands(store, commits)
        futures = [store.write(add_thing(f"{number:03}")) for number in range(100)]
    assert results(futures) == thing_names(store) == [f"{number:03}" for number in range(100)]
    assert commits.count("COMMIT") == 1 + 3, "the mutation that blocked the writer, then 40 + 40 + 20"
    assert [event.pos for event in all_events(store)] == list(range(1, 101))


def test_results_follow_events_in_one_delivery(open_store: Opener) -> None:
    calls: list[object] = []

    def deliver(resolutions: Sequence[Resolution]) -> None:
        calls.append(len(resolutions))
        resolve_all(resolutions)

    store = open_store(publish=lambda events: calls.append([event.data["name"] for event in events]), deliver=deliver)
    with writer_blocked(store):
        futures = [store.write(add_thing("a")), store.write(fail_after_add("b")), store.write(add_thing("c"))]
        for future in futures:
            future.add_done_callback(lambda done: calls.append("answered"))
    wait(futures, PATIENCE_S)
    assert calls == [1, ["a", "c"], 3, "answered", "answered", "answered"]


def test_results_despite_failing_delivery(open_store: Opener) -> None:
    def deliver(resolutions: Sequence[Resolution]) -> None:
        resolutions[0]()
        raise RuntimeError("the loop is closed")

    store = open_store(deliver=deliver)
    assert store.write(add_thing("a")).result(PATIENCE_S) == "a"
    assert store.write(add_thing("b")).result(PATIENCE_S) == "b"


def test_results_despite_failing_publish(open_store: Opener) -> None:
    def publish(events: object) -> None:
        raise MutationFailed

    store = open_store(publish=publish)
    assert store.write(add_thing("a")).result(PATIENCE_S) == "a"
    assert store.writer.callback_failures == 1


def test_cancel_before_and_after_start(open_store: Opener) -> None:
    store = open_store()
    begun, go_on = threading.Event(), threading.Event()

    def slow(transaction: Transaction) -> None:
        add_thing("slow")(transaction)
        begun.set()
        assert go_on.wait(PATIENCE_S)

    started = store.write(slow)
    assert begun.wait(PATIENCE_S)
    waiting, other = store.write(add_thing("waiting")), store.write(add_thing("other"))
    assert not started.cancel(), "a mutation that has started cannot be cancelled"
    assert waiting.cancel()
    go_on.set()
    assert other.result(PATIENCE_S) == "other"
    assert started.result(PATIENCE_S) is None
    assert thing_names(store) == ["other", "slow"]


def test_full_queue_rejects_at_once(open_store: Opener) -> None:
    store = open_store(limits=Limits(writer_queue_max=2))
    with writer_blocked(store):
        futures = [store.write(add_thing("a")), store.write(add_thing("b"))]
        with pytest.raises(StoreOverloaded, match=r"Write queue is full \(2 waiting\)"):
            store.write(add_thing("c"))
    results(futures)
    store.write(add_thing("d")).result(PATIENCE_S)
    assert thing_names(store) == ["a", "b", "d"]


def test_close_flushes_queue_and_rejects_new_writes(open_store: Opener) -> None:
    store = open_store()
    with writer_blocked(store):
        futures = [store.write(add_thing(name)) for name in "abc"]
        closer = threading.Thread(target=store.close)
        closer.start()
    closer.join(PATIENCE_S)
    assert results(futures) == ["a", "b", "c"]
    with pytest.raises(StoreUnavailable, match="closing"):
        store.write(add_thing("d"))
    assert thing_names(open_store()) == ["a", "b", "c"]


def test_run_between_batches(open_store: Opener) -> None:
    store = open_store()
    futures = [store.write(add_thing(f"queued {number}")) for number in range(50)]
    assert store.run(add_thing("at once")) == "at once"
    results(futures)
    assert [event.pos for event in all_events(store)] == list(range(1, 52))


def test_failed_commit_fails_only_its_batch(open_file: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    class BrokenCursor(SqliteCursor):
        """A disk that fails on COMMIT."""

        def execute(self, sql: str, *arguments: Any) -> Self:
            if sql == "COMMIT" and broken.is_set():
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
                raise error
            return super().execute(sql, *arguments)

    def writing(engine: SqliteFileEngine) -> sqlite3.Cursor:
        return original(engine).connection.cursor(BrokenCursor)

    broken, calls = threading.Event(), list[str]()
    original = SqliteFileEngine.writer_cursor
    monkeypatch.setattr(SqliteFileEngine, "writer_cursor", writing)
    store = open_file(publish=lambda events: calls.extend(event.data["name"] for event in events))

    def marked(transaction: Transaction) -> None:
        add_thing("a")(transaction)
        transaction.on_commit(lambda: calls.append("never"))
        transaction.on_rollback(lambda: calls.append("abandoned"))

    with writer_blocked(store):
        lost = [store.write(marked), store.write(fail_after_add("b")), store.write(lambda transaction: broken.set())]
    wait(lost, PATIENCE_S)
    for future in lost:
        assert isinstance(future.exception(), StoreUnavailable)
    broken.clear()
    assert calls == ["abandoned"]
    assert store.write(add_thing("c")).result(PATIENCE_S) == "c"
    assert thing_names(store) == ["c"]
    assert [(event.pos, event.seq) for event in all_events(store)] == [(1, 1)]
    assert calls == ["abandoned", "c"]


def test_locked_database_is_temporary_outage(open_file: Opener, tmp_path: Path) -> None:
    store = open_file(limits=Limits(request_timeout_s=0.05))
    other_connection = sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)
    other_connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        store.write(add_thing("a")).result(PATIENCE_S)
    other_connection.execute("ROLLBACK")
    other_connection.close()
    store.write(add_thing("b")).result(PATIENCE_S)
    assert thing_names(store) == ["b"]


def test_failed_writer_thread_resolves_all_writes(open_store: Opener, caplog: pytest.LogCaptureFixture) -> None:
    has_failed = threading.Event()
    failed_threads: list[str] = []

    def on_failure(name: str) -> None:
        failed_threads.append(name)
        has_failed.set()

    store = open_store(limits=Limits(writer_batch_max=2), on_writer_failure=on_failure)
    with writer_blocked(store):
        futures = [
            store.write(mutation) for mutation in (add_thing("a"), fail_after_add("b", SystemExit(3)), add_thing("c"))
        ]
    assert has_failed.wait(PATIENCE_S)
    for future in futures:
        assert isinstance(future.exception(PATIENCE_S), StoreUnavailable)
    with pytest.raises(StoreUnavailable, match="writer thread has failed"):
        store.write(add_thing("d"))
    assert failed_threads == ["writer"]
    assert "thread failed: writer" in caplog.text
    assert thing_names(store) == []


def test_query_sees_one_snapshot(open_store: Opener) -> None:
    store = open_store()
    store.run(add_thing("a"))

    def query(reader: Reader) -> tuple[Any, Any]:
        before = reader.row(COUNT)
        store.write(add_thing("b")).result(PATIENCE_S)
        return before, reader.row(COUNT)

    assert store.read(query) == ((1,), (1,))
    assert thing_names(store) == ["a", "b"]


def test_reader_connections_are_limited_and_reused(open_store: Opener) -> None:
    store = open_store(limits=Limits(readers_max=1, request_timeout_s=0.05))
    with pytest.raises(StoreOverloaded, match="All 1 readers"):
        store.read(lambda reader: last_pos(store))
    assert last_pos(store) == 0


def test_reader_connection_cannot_write(open_store: Opener) -> None:
    store = open_store()
    refusals = (sqlite3.OperationalError, psycopg.errors.ReadOnlySqlTransaction)
    with store._engine.read_transaction() as cursor, pytest.raises(refusals, match=r"read-?only"):
        cursor.execute("INSERT INTO things VALUES ('a', 1)")


def test_concurrent_readers_and_writer(open_store: Opener) -> None:
    store = open_store()
    done = threading.Event()
    wrong: list[object] = []

    def reading() -> None:
        def query(reader: Reader) -> tuple[Any, int]:
            return reader.row(COUNT), len(all_events(store))

        while not done.is_set():
            count, events = store.read(query)
            if count is None or count[0] > events:
                wrong.append((count, events))

    threads = [threading.Thread(target=reading) for _ in range(3)]
    for thread in threads:
        thread.start()
    results([store.write(add_thing(f"{number:03}")) for number in range(200)])
    done.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert wrong == []
    assert len(thing_names(store)) == 200
