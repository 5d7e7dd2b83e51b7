"""The advisory lock on PostgreSQL: one server at a time writes, and a server that lost the lock does not."""

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psycopg
import pytest

from greenroom.clock import SystemClock
from greenroom.domain.errors import AlreadyRunning, StoreUnavailable
from greenroom.store.postgres import engine
from greenroom.store.postgres.advisory_lock import LOCK_KEY, Backend, acquire_lock
from greenroom.store.postgres.pipeline import PostgresSession
from greenroom.store.store import Store
from greenroom.store.transaction import Transaction
from tests.contract.postgres_stores import (
    CloseLater,
    PublishedEvents,
    open_threadless,
    postgres_engine,
    terminate_writer,
    writer_pid,
)
from tests.contract.things_table import CACHED_SIZE, GROW, add_thing, all_events, tables, thing_names
from tests.postgres import LENIENT_LIMITS, PostgresServer
from tests.waiting import PATIENCE_S, wait_until


def test_second_server_is_rejected_with_holder(url: str, close_later: CloseLater) -> None:
    store = close_later(open_threadless(url))
    with pytest.raises(AlreadyRunning, match=rf"greenroom server \d+@.* \(backend {writer_pid(store)} .* since 20"):
        open_threadless(url, lock_wait_s=0.1)
    assert store.run(add_thing("a")) == "a"


def test_start_waits_for_stopping_server(url: str, close_later: CloseLater) -> None:
    first = open_threadless(url)
    threading.Timer(0.3, first.close).start()
    assert thing_names(close_later(open_threadless(url))) == []


def test_lock_is_per_database(url: str, postgres: PostgresServer, close_later: CloseLater) -> None:
    close_later(open_threadless(url))
    with postgres.database() as other:
        close_later(open_threadless(other)).close()


def test_ended_session_is_reopened_without_writes(url: str, postgres: PostgresServer, close_later: CloseLater) -> None:
    store = close_later(open_threadless(url))
    store.run(add_thing("a"))
    terminate_writer(store, postgres)

    store.verify_lock()
    wait_until(lambda: postgres_engine(store).writer_sessions == 2, "a new session is open")
    store.verify_lock()

    assert postgres.run_as_superuser(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = %s", writer_pid(store)
    )
    assert store.run(add_thing("b")) == "b"
    assert [event.pos for event in all_events(store)] == [1, 2]


def test_write_reopens_ended_session(url: str, postgres: PostgresServer, close_later: CloseLater) -> None:
    store = close_later(open_threadless(url))
    terminate_writer(store, postgres)
    assert store.run(add_thing("a")) == "a"
    assert postgres_engine(store).writer_sessions == 2


def test_session_end_in_mutation_fails_batch(url: str, postgres: PostgresServer, close_later: CloseLater) -> None:
    store = close_later(open_threadless(url))

    def cut(transaction: Any) -> None:
        add_thing("b")(transaction)
        terminate_writer(store, postgres)
        add_thing("c")(transaction)

    for future in store.writer.run_batch([add_thing("a"), cut, add_thing("d")]):
        assert "terminating connection" in str(future.exception())
    assert store.run(add_thing("e")) == "e"
    assert thing_names(store) == ["e"]


def test_no_writes_after_lock_loss(url: str, postgres: PostgresServer, close_later: CloseLater) -> None:
    store = close_later(open_threadless(url))
    store.run(add_thing("a"))
    postgres_engine(store)._lock_wait_s = 0.1
    with psycopg.connect(url, autocommit=True, application_name="the other one") as other:
        other.execute("SET lock_timeout = 0")
        locker = threading.Thread(target=other.execute, args=(f"SELECT pg_advisory_lock({LOCK_KEY})",))
        locker.start()
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        wait_until(lambda: postgres.run_as_superuser(waiting), "the other one waits for the lock")
        terminate_writer(store, postgres)
        locker.join(PATIENCE_S)

        for name in "bc":
            with pytest.raises(StoreUnavailable):
                store.run(add_thing(name))
        with pytest.raises(AlreadyRunning, match="the other one"):
            store.verify_lock()
    # Also after the other server has stopped, since it may have written.
    with pytest.raises(StoreUnavailable, match="Another server uses"):
        store.run(add_thing("d"))
    assert thing_names(store) == ["a"]


def test_no_writes_after_other_server_wrote(url: str, postgres: PostgresServer, close_later: CloseLater) -> None:
    store = close_later(open_threadless(url))
    store.run(add_thing("a"))
    terminate_writer(store, postgres)
    other = open_threadless(url)
    other.run(add_thing("b"))
    other.close()

    for name in "cd":
        with pytest.raises(StoreUnavailable, match="Another server wrote"):
            store.run(add_thing(name))
    with pytest.raises(StoreUnavailable, match="Another server wrote"):
        store.verify_lock()
    assert thing_names(store) == ["a", "b"]


def test_new_session_drops_read_cache(url: str, postgres: PostgresServer, close_later: CloseLater) -> None:
    def size(transaction: Transaction) -> Any:
        return transaction.row(CACHED_SIZE, thing="a")

    store = close_later(open_threadless(url))
    store.run(add_thing("a"))
    assert store.run(size) == (1,)
    terminate_writer(store, postgres)
    other = open_threadless(url)
    other.run(lambda transaction: transaction.execute_deferred(GROW, thing="a", by=1))
    other.close()

    assert store.run(size) == (2,)
    assert store.run(add_thing("b")) == "b"


def test_own_half_open_session_is_terminated(url: str, postgres: PostgresServer, close_later: CloseLater) -> None:
    store = close_later(open_threadless(url))
    terminate_writer(store, postgres)
    with psycopg.connect(url, autocommit=True) as half_open:
        half_open.execute(f"SELECT pg_advisory_lock({LOCK_KEY})")
        [[started_us]] = half_open.execute(
            "SELECT (extract(epoch FROM backend_start) * 1000000)::bigint FROM pg_stat_activity"
            " WHERE pid = pg_backend_pid()"
        ).fetchall()
        # Stands for the session that PostgreSQL still has for a connection that the store lost.
        postgres_engine(store)._backends.append(Backend(half_open.info.backend_pid, started_us))
        assert store.run(add_thing("a")) == "a"
        with pytest.raises(psycopg.OperationalError):
            half_open.execute("SELECT 1")


def test_session_with_unconfirmed_lock_is_terminated(
    url: str, postgres: PostgresServer, close_later: CloseLater, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, lost = close_later(open_threadless(url)), list[PostgresSession]()

    def take_and_lose(session: PostgresSession, *arguments: Any) -> None:
        acquire_lock(session, *arguments)
        lost.append(session)
        raise psycopg.OperationalError("connection lost before the answer")

    monkeypatch.setattr(engine, "acquire_lock", take_and_lose)
    monkeypatch.setattr(
        PostgresSession, "close", lambda session: None
    )  # PostgreSQL does not notice the lost connection.
    terminate_writer(store, postgres)
    with pytest.raises(StoreUnavailable, match="connection lost"):
        store.run(add_thing("lost"))
    monkeypatch.undo()

    assert store.run(add_thing("a")) == "a"
    assert thing_names(store) == ["a"]
    lost[0].close()


def test_reused_backend_pid_is_not_terminated(url: str, postgres: PostgresServer, close_later: CloseLater) -> None:
    store = close_later(open_threadless(url))
    postgres_engine(store)._lock_wait_s = 0.1
    terminate_writer(store, postgres)
    with psycopg.connect(url, autocommit=True) as other_session:
        other_session.execute(f"SELECT pg_advisory_lock({LOCK_KEY})")
        postgres_engine(store)._backends.append(Backend(other_session.info.backend_pid, 1))
        for name in "ab":
            with pytest.raises(StoreUnavailable):
                store.run(add_thing(name))
        other_session.execute("SELECT 1")


def test_writes_with_ended_sessions_happen_once(
    url: str, postgres: PostgresServer, tmp_path: Path, close_later: CloseLater
) -> None:
    published, is_over = PublishedEvents(), threading.Event()
    store = close_later(
        Store.open(
            tmp_path, SystemClock(), database=url, limits=LENIENT_LIMITS, tables=tables, publish=published.publish
        )
    )
    applied: list[str] = []

    def marked(name: str) -> Any:
        def mutation(transaction: Any) -> str:
            transaction.on_commit(lambda: applied.append(name))
            return str(add_thing(name)(transaction))

        return mutation

    def end_sessions() -> None:
        while not is_over.is_set():
            terminate_writer(store, postgres)
            is_over.wait(0.02)

    terminator = threading.Thread(target=end_sessions)
    terminator.start()
    futures: dict[str, Future[Any]] = {}
    for number in range(400):
        futures[f"{number:03}"] = store.write(marked(f"{number:03}"))
        if number % 5 == 0:
            is_over.wait(0.003)
    outcomes = {name: future.exception(PATIENCE_S) for name, future in futures.items()}
    is_over.set()
    terminator.join(PATIENCE_S)
    store.run(lambda transaction: None)

    done = [name for name, error in outcomes.items() if error is None]
    assert done == thing_names(store) == sorted(applied)
    assert all(isinstance(error, StoreUnavailable) for error in outcomes.values() if error is not None)
    assert [event.data["name"] for event in all_events(store)[:400]] == applied
    assert published == all_events(store)
    assert [event.pos for event in published] == list(range(1, len(published) + 1))
    assert postgres_engine(store).writer_sessions > 2, "no session was ended"
