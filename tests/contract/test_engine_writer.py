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
from greenroom.domain.reliability import Reliability
from greenroom.store.batch import Resolution
from greenroom.store.postgres.session import Session
from greenroom.store.sqlite import SqliteCursor, SqliteFile
from greenroom.store.store import DATABASE_NAME, Store
from greenroom.store.transaction import Reader, Transaction
from greenroom.store.writer import resolve_each
from tests.contract.things import (
    COUNT,
    Boom,
    adding,
    everything,
    failing,
    last_pos,
    names,
    tables,
    writer_held,
)
from tests.postgres import UNHURRIED
from tests.waiting import PATIENCE_S

Opener = Callable[..., Store]


@contextmanager
def opening(directory: Path, database: str | None) -> Iterator[Opener]:
    opened: list[Store] = []

    def opener(**settings: Any) -> Store:
        settings = {"limits": UNHURRIED, **settings}
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
        yield stack.enter_context(opening(tmp_path, database))


@pytest.fixture
def open_file(tmp_path: Path) -> Iterator[Opener]:
    with opening(tmp_path, None) as opener:
        yield opener


def notice_commands(store: Store, noticed: list[str]) -> None:
    """Append the commands that the writer's connection runs to a list."""
    cursor = store._engine.writing()
    if isinstance(cursor, sqlite3.Cursor):
        cursor.connection.set_trace_callback(noticed.append)
        return
    assert isinstance(cursor, Session)
    command = cursor._command

    def noticing(sql: str) -> None:
        noticed.append(sql)
        command(sql)

    cursor._command = noticing  # type: ignore[method-assign]


def results(futures: Sequence[Future[Any]]) -> list[Any]:
    return [future.result(PATIENCE_S) for future in futures]


def test_what_waits_is_committed_together(open_store: Opener) -> None:
    store = open_store(limits=Reliability(writer_batch_max=40))
    commits: list[str] = []
    with writer_held(store):
        notice_commands(store, commits)
        futures = [store.write(adding(f"{number:03}")) for number in range(100)]
    assert results(futures) == names(store) == [f"{number:03}" for number in range(100)]
    assert commits.count("COMMIT") == 1 + 3, "the mutation that blocked the writer, then 40 + 40 + 20"
    assert [event.pos for event in everything(store)] == list(range(1, 101))


def test_answers_come_after_the_events_and_one_delivery_serves_a_batch(open_store: Opener) -> None:
    told: list[object] = []

    def deliver(resolutions: Sequence[Resolution]) -> None:
        told.append(len(resolutions))
        resolve_each(resolutions)

    store = open_store(publish=lambda events: told.append([event.data["name"] for event in events]), deliver=deliver)
    with writer_held(store):
        futures = [store.write(adding("a")), store.write(failing("b")), store.write(adding("c"))]
        for future in futures:
            future.add_done_callback(lambda done: told.append("answered"))
    wait(futures, PATIENCE_S)
    assert told == [1, ["a", "c"], 3, "answered", "answered", "answered"]


def test_a_delivery_that_fails_still_answers(open_store: Opener) -> None:
    def deliver(resolutions: Sequence[Resolution]) -> None:
        resolutions[0]()
        raise RuntimeError("the loop is closed")

    store = open_store(deliver=deliver)
    assert store.write(adding("a")).result(PATIENCE_S) == "a"
    assert store.write(adding("b")).result(PATIENCE_S) == "b"


def test_a_publication_that_fails_still_answers(open_store: Opener) -> None:
    def publish(events: object) -> None:
        raise Boom

    store = open_store(publish=publish)
    assert store.write(adding("a")).result(PATIENCE_S) == "a"
    assert store.writer.failures == 1


def test_who_leaves_before_the_start_is_not_served_and_who_leaves_later_harms_nobody(open_store: Opener) -> None:
    store = open_store()
    begun, go_on = threading.Event(), threading.Event()

    def slow(transaction: Transaction) -> None:
        adding("slow")(transaction)
        begun.set()
        assert go_on.wait(PATIENCE_S)

    started = store.write(slow)
    assert begun.wait(PATIENCE_S)
    waiting, other = store.write(adding("waiting")), store.write(adding("other"))
    assert not started.cancel(), "a mutation that has started cannot be cancelled"
    assert waiting.cancel()
    go_on.set()
    assert other.result(PATIENCE_S) == "other"
    assert started.result(PATIENCE_S) is None
    assert names(store) == ["other", "slow"]


def test_a_full_queue_refuses_at_once(open_store: Opener) -> None:
    store = open_store(limits=Reliability(writer_queue_max=2))
    with writer_held(store):
        futures = [store.write(adding("a")), store.write(adding("b"))]
        with pytest.raises(StoreOverloaded, match=r"Write queue is full \(2 waiting\)"):
            store.write(adding("c"))
    results(futures)
    store.write(adding("d")).result(PATIENCE_S)
    assert names(store) == ["a", "b", "d"]


def test_closing_writes_what_is_queued_and_takes_no_more(open_store: Opener) -> None:
    store = open_store()
    with writer_held(store):
        futures = [store.write(adding(name)) for name in "abc"]
        closing = threading.Thread(target=store.close)
        closing.start()
    closing.join(PATIENCE_S)
    assert results(futures) == ["a", "b", "c"]
    with pytest.raises(StoreUnavailable, match="closing"):
        store.write(adding("d"))
    assert names(open_store()) == ["a", "b", "c"]


def test_run_takes_its_turn_between_two_batches(open_store: Opener) -> None:
    store = open_store()
    futures = [store.write(adding(f"queued {number}")) for number in range(50)]
    assert store.run(adding("at once")) == "at once"
    results(futures)
    assert [event.pos for event in everything(store)] == list(range(1, 52))


def test_a_failed_commit_fails_its_batch_and_the_next_one_goes_on(
    open_file: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BrokenCursor(SqliteCursor):
        """A disk that fails on COMMIT."""

        def execute(self, sql: str, *arguments: Any) -> Self:
            if sql == "COMMIT" and broken.is_set():
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
                raise error
            return super().execute(sql, *arguments)

    def writing(engine: SqliteFile) -> sqlite3.Cursor:
        return original(engine).connection.cursor(BrokenCursor)

    broken, told = threading.Event(), list[str]()
    original = SqliteFile.writing
    monkeypatch.setattr(SqliteFile, "writing", writing)
    store = open_file(publish=lambda events: told.extend(event.data["name"] for event in events))

    def marked(transaction: Transaction) -> None:
        adding("a")(transaction)
        transaction.after_commit(lambda: told.append("never"))
        transaction.if_abandoned(lambda: told.append("abandoned"))

    with writer_held(store):
        lost = [store.write(marked), store.write(failing("b")), store.write(lambda transaction: broken.set())]
    wait(lost, PATIENCE_S)
    for future in lost:
        assert isinstance(future.exception(), StoreUnavailable)
    broken.clear()
    assert told == ["abandoned"]
    assert store.write(adding("c")).result(PATIENCE_S) == "c"
    assert names(store) == ["c"]
    assert [(event.pos, event.seq) for event in everything(store)] == [(1, 1)]
    assert told == ["abandoned", "c"]


def test_a_database_locked_from_outside_is_an_outage_that_passes(open_file: Opener, tmp_path: Path) -> None:
    store = open_file(limits=Reliability(request_timeout_s=0.05))
    outside = sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)
    outside.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        store.write(adding("a")).result(PATIENCE_S)
    outside.execute("ROLLBACK")
    outside.close()
    store.write(adding("b")).result(PATIENCE_S)
    assert names(store) == ["b"]


def test_a_writer_that_dies_says_so_and_leaves_nobody_waiting(
    open_store: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    dead = threading.Event()
    deaths: list[str] = []

    def on_death(name: str) -> None:
        deaths.append(name)
        dead.set()

    store = open_store(limits=Reliability(writer_batch_max=2), on_death=on_death)
    with writer_held(store):
        futures = [store.write(mutation) for mutation in (adding("a"), failing("b", SystemExit(3)), adding("c"))]
    assert dead.wait(PATIENCE_S)
    for future in futures:
        assert isinstance(future.exception(PATIENCE_S), StoreUnavailable)
    with pytest.raises(StoreUnavailable, match="writer thread has failed"):
        store.write(adding("d"))
    assert deaths == ["writer"]
    assert "thread failed: writer" in caplog.text
    assert names(store) == []


def test_a_query_sees_one_moment_while_writes_go_on(open_store: Opener) -> None:
    store = open_store()
    store.run(adding("a"))

    def query(reader: Reader) -> tuple[Any, Any]:
        before = reader.row(COUNT)
        store.write(adding("b")).result(PATIENCE_S)
        return before, reader.row(COUNT)

    assert store.read(query) == ((1,), (1,))
    assert names(store) == ["a", "b"]


def test_reader_connections_are_limited_and_used_again(open_store: Opener) -> None:
    store = open_store(limits=Reliability(readers_max=1, request_timeout_s=0.05))
    with pytest.raises(StoreOverloaded, match="All 1 readers"):
        store.read(lambda reader: last_pos(store))
    assert last_pos(store) == 0


def test_a_reader_connection_cannot_write(open_store: Opener) -> None:
    store = open_store()
    refusals = (sqlite3.OperationalError, psycopg.errors.ReadOnlySqlTransaction)
    with store._engine.reading() as cursor, pytest.raises(refusals, match=r"read-?only"):
        cursor.execute("INSERT INTO things VALUES ('a', 1)")


def test_many_readers_and_a_writer_at_once(open_store: Opener) -> None:
    store = open_store()
    done = threading.Event()
    wrong: list[object] = []

    def reading() -> None:
        def query(reader: Reader) -> tuple[Any, int]:
            return reader.row(COUNT), len(everything(store))

        while not done.is_set():
            count, events = store.read(query)
            if count is None or count[0] > events:
                wrong.append((count, events))

    threads = [threading.Thread(target=reading) for _ in range(3)]
    for thread in threads:
        thread.start()
    results([store.write(adding(f"{number:03}")) for number in range(200)])
    done.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert wrong == []
    assert len(names(store)) == 200
