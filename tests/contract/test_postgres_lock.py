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
from greenroom.store.postgres.lock import KEY, Backend, take_lock
from greenroom.store.postgres.session import Session
from greenroom.store.store import Store
from greenroom.store.transaction import Transaction
from tests.contract.hosted import Closing, Heard, backend_of, end_writer, engine_of, still
from tests.contract.things import GROW, KEPT_SIZE, adding, everything, names, tables
from tests.postgres import UNHURRIED, Server
from tests.waiting import PATIENCE_S, wait_until


def test_a_second_server_is_refused_and_told_who_has_the_store(url: str, closing: Closing) -> None:
    store = closing(still(url))
    with pytest.raises(AlreadyRunning, match=rf"greenroom server \d+@.* \(backend {backend_of(store)} .* since 20"):
        still(url, lock_wait_s=0.1)
    assert store.run(adding("a")) == "a"


def test_a_server_that_has_just_gone_is_waited_for(url: str, closing: Closing) -> None:
    first = still(url)
    threading.Timer(0.3, first.close).start()
    assert names(closing(still(url))) == []


def test_the_lock_is_of_its_database_alone(url: str, postgres: Server, closing: Closing) -> None:
    closing(still(url))
    with postgres.database() as other:
        closing(still(other)).close()


def test_a_session_that_was_ended_is_taken_up_again_while_nobody_writes(
    url: str, postgres: Server, closing: Closing
) -> None:
    store = closing(still(url))
    store.run(adding("a"))
    end_writer(store, postgres)

    store.keep_lock()
    wait_until(lambda: engine_of(store).sessions == 2, "a new session is open")
    store.keep_lock()

    assert postgres.admin("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = %s", backend_of(store))
    assert store.run(adding("b")) == "b"
    assert [event.pos for event in everything(store)] == [1, 2]


def test_a_write_finds_that_its_session_was_ended_before(url: str, postgres: Server, closing: Closing) -> None:
    store = closing(still(url))
    end_writer(store, postgres)
    assert store.run(adding("a")) == "a"
    assert engine_of(store).sessions == 2


def test_a_session_that_ends_in_a_mutation_takes_the_batch_away(url: str, postgres: Server, closing: Closing) -> None:
    store = closing(still(url))

    def cut(transaction: Any) -> None:
        adding("b")(transaction)
        end_writer(store, postgres)
        adding("c")(transaction)

    for future in store.writer.run_batch([adding("a"), cut, adding("d")]):
        assert "terminating connection" in str(future.exception())
    assert store.run(adding("e")) == "e"
    assert names(store) == ["e"]


def test_who_lost_the_lock_to_another_server_writes_no_more(url: str, postgres: Server, closing: Closing) -> None:
    store = closing(still(url))
    store.run(adding("a"))
    engine_of(store)._lock_wait_s = 0.1
    with psycopg.connect(url, autocommit=True, application_name="the other one") as other:
        other.execute("SET lock_timeout = 0")
        taking = threading.Thread(target=other.execute, args=(f"SELECT pg_advisory_lock({KEY})",))
        taking.start()
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        wait_until(lambda: postgres.admin(waiting), "the other one waits for the lock")
        end_writer(store, postgres)
        taking.join(PATIENCE_S)

        for name in "bc":
            with pytest.raises(StoreUnavailable):
                store.run(adding(name))
        with pytest.raises(AlreadyRunning, match="the other one"):
            store.keep_lock()
    # Also after the other server has stopped, since it may have written.
    with pytest.raises(StoreUnavailable, match="Another server uses"):
        store.run(adding("d"))
    assert names(store) == ["a"]


def test_who_finds_that_another_server_wrote_meanwhile_writes_no_more(
    url: str, postgres: Server, closing: Closing
) -> None:
    store = closing(still(url))
    store.run(adding("a"))
    end_writer(store, postgres)
    other = still(url)
    other.run(adding("b"))
    other.close()

    for name in "cd":
        with pytest.raises(StoreUnavailable, match="Another server wrote"):
            store.run(adding(name))
    with pytest.raises(StoreUnavailable, match="Another server wrote"):
        store.keep_lock()
    assert names(store) == ["a", "b"]


def test_what_another_server_wrote_without_an_event_is_not_remembered_otherwise(
    url: str, postgres: Server, closing: Closing
) -> None:
    def size(transaction: Transaction) -> Any:
        return transaction.row(KEPT_SIZE, thing="a")

    store = closing(still(url))
    store.run(adding("a"))
    assert store.run(size) == (1,)
    end_writer(store, postgres)
    other = still(url)
    other.run(lambda transaction: transaction.put(GROW, thing="a", by=1))
    other.close()

    assert store.run(size) == (2,)
    assert store.run(adding("b")) == "b"


def test_a_half_open_session_of_our_own_is_ended(url: str, postgres: Server, closing: Closing) -> None:
    store = closing(still(url))
    end_writer(store, postgres)
    with psycopg.connect(url, autocommit=True) as dead:
        dead.execute(f"SELECT pg_advisory_lock({KEY})")
        [[started_us]] = dead.execute(
            "SELECT (extract(epoch FROM backend_start) * 1000000)::bigint FROM pg_stat_activity"
            " WHERE pid = pg_backend_pid()"
        ).fetchall()
        # Stands for the session that PostgreSQL still has for a connection that the store lost.
        engine_of(store)._backends.append(Backend(dead.info.backend_pid, started_us))
        assert store.run(adding("a")) == "a"
        with pytest.raises(psycopg.OperationalError):
            dead.execute("SELECT 1")


def test_a_session_that_got_the_lock_without_our_hearing_of_it_is_ended(
    url: str, postgres: Server, closing: Closing, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, lost = closing(still(url)), list[Session]()

    def take_and_lose(session: Session, *arguments: Any) -> None:
        take_lock(session, *arguments)
        lost.append(session)
        raise psycopg.OperationalError("connection lost before the answer")

    monkeypatch.setattr(engine, "take_lock", take_and_lose)
    monkeypatch.setattr(Session, "close", lambda session: None)  # PostgreSQL does not notice the lost connection.
    end_writer(store, postgres)
    with pytest.raises(StoreUnavailable, match="connection lost"):
        store.run(adding("lost"))
    monkeypatch.undo()

    assert store.run(adding("a")) == "a"
    assert names(store) == ["a"]
    lost[0].close()


def test_a_stranger_with_the_number_of_our_session_is_left_alone(url: str, postgres: Server, closing: Closing) -> None:
    store = closing(still(url))
    engine_of(store)._lock_wait_s = 0.1
    end_writer(store, postgres)
    with psycopg.connect(url, autocommit=True) as stranger:
        stranger.execute(f"SELECT pg_advisory_lock({KEY})")
        engine_of(store)._backends.append(Backend(stranger.info.backend_pid, 1))
        for name in "ab":
            with pytest.raises(StoreUnavailable):
                store.run(adding(name))
        stranger.execute("SELECT 1")


def test_sessions_ended_under_writes_lose_nothing_and_double_nothing(
    url: str, postgres: Server, tmp_path: Path, closing: Closing
) -> None:
    heard, over = Heard(), threading.Event()
    store = closing(
        Store.open(tmp_path, SystemClock(), database=url, limits=UNHURRIED, tables=tables, publish=heard.publish)
    )
    applied: list[str] = []

    def marked(name: str) -> Any:
        def mutation(transaction: Any) -> str:
            transaction.after_commit(lambda: applied.append(name))
            return str(adding(name)(transaction))

        return mutation

    def end_sessions() -> None:
        while not over.is_set():
            end_writer(store, postgres)
            over.wait(0.02)

    ending = threading.Thread(target=end_sessions)
    ending.start()
    futures: dict[str, Future[Any]] = {}
    for number in range(400):
        futures[f"{number:03}"] = store.write(marked(f"{number:03}"))
        if number % 5 == 0:
            over.wait(0.003)
    outcomes = {name: future.exception(PATIENCE_S) for name, future in futures.items()}
    over.set()
    ending.join(PATIENCE_S)
    store.run(lambda transaction: None)

    done = [name for name, error in outcomes.items() if error is None]
    assert done == names(store) == sorted(applied)
    assert all(isinstance(error, StoreUnavailable) for error in outcomes.values() if error is not None)
    assert [event.data["name"] for event in everything(store)[:400]] == applied
    assert heard == everything(store)
    assert [event.pos for event in heard] == list(range(1, len(heard) + 1))
    assert engine_of(store).sessions > 2, "no session was ended"
