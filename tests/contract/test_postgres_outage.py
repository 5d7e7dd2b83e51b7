"""PostgreSQL stops, hangs and returns; and settings of a database do not weaken what the store requires."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import psycopg
import pytest

from greenroom.clock import SystemClock
from greenroom.domain.errors import StoreUnavailable, Unusable
from greenroom.domain.limits import Limits
from greenroom.store.compiled_sql import Statement
from greenroom.store.postgres.connection import SESSION_SETTINGS, DatabaseAddress
from greenroom.store.postgres.engine import DIALECT
from greenroom.store.postgres.pipeline import PostgresSession
from greenroom.store.store import Store
from greenroom.store.tables import TABLE_MODULES
from greenroom.testing import MovedClock
from tests.contract.postgres_stores import CloseLater, PublishedEvents, database_name, open_threadless, postgres_engine
from tests.contract.things_table import SIZE, add_thing, all_events, last_pos, tables, thing_names
from tests.postgres import LENIENT_LIMITS, PostgresServer, make_engine, server_folder
from tests.waiting import PATIENCE_S, wait_until

SHORT_TIMEOUT = Limits(database_timeout_s=3.0)
"""For a database that does not answer. The answers that it does give take milliseconds."""


def message(kind: bytes, content: bytes) -> bytes:
    return kind + (len(content) + 4).to_bytes(4) + content


LOGIN_ANSWER = (
    message(b"R", bytes(4))
    + message(b"S", b"server_version\0" + b"18.0\0")
    + message(b"S", b"default_transaction_read_only\0off\0")
    + message(b"S", b"in_hot_standby\0off\0")
    + message(b"Z", b"I")
)
"""The messages with which PostgreSQL accepts a user without a password."""


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test's own, which it may stop."""
    server = PostgresServer(server_folder(tmp_path))
    yield server
    server.close()


def has_writer_session(store: Store) -> bool:
    store.verify_lock()
    return postgres_engine(store)._writer is not None


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of each session that the store tried to open."""
    recorded: list[str] = []
    connect = DatabaseAddress.connect

    def recording(address: DatabaseAddress, name: str, *arguments: Any, **options: Any) -> PostgresSession:
        recorded.append(name)
        return connect(address, name, *arguments, **options)

    monkeypatch.setattr(DatabaseAddress, "connect", recording)
    return recorded


def test_store_recovers_after_restart(
    own_server: PostgresServer, tmp_path: Path, attempts: list[str], close_later: CloseLater
) -> None:
    published = PublishedEvents()
    with own_server.database() as url:
        store = close_later(
            Store.open(
                tmp_path, SystemClock(), database=url, limits=LENIENT_LIMITS, tables=tables, publish=published.publish
            )
        )
        store.write(add_thing("a")).result(PATIENCE_S)
        assert thing_names(store) == ["a"]
        futures = {f"{number:03}": store.write(add_thing(f"{number:03}")) for number in range(200)}
        own_server.stop("immediate")
        wait(futures.values(), PATIENCE_S)
        for fail in (lambda: store.write(add_thing("away")).result(PATIENCE_S), lambda: thing_names(store)):
            attempts_before = len(attempts)
            with pytest.raises(StoreUnavailable):
                fail()
            assert len(attempts) - attempts_before <= 1, "more than one attempt was made although no server listens"
        store.verify_lock()

        own_server.start()
        wait_until(lambda: has_writer_session(store), "the writer has a session again")
        store.write(add_thing("z")).result(PATIENCE_S)
        done = ["a", *(name for name, future in futures.items() if future.exception(PATIENCE_S) is None), "z"]
        assert thing_names(store) == sorted(done)
        assert published == all_events(store)
        store.close()


def test_hanging_statement_times_out(url: str, postgres: PostgresServer, close_later: CloseLater) -> None:
    store = close_later(open_threadless(url, limits=SHORT_TIMEOUT))
    with pytest.raises(StoreUnavailable, match=r"statement timeout|did not answer"):
        store.run(lambda transaction: transaction._cursor.execute(f"SELECT pg_sleep({PATIENCE_S})"))
    wait_until(lambda: has_writer_session(store), "the writer has a session")
    assert store.run(add_thing("a")) == "a"


def test_no_second_wait_after_timeout(own_server: PostgresServer, attempts: list[str], close_later: CloseLater) -> None:
    clock, wait_s = MovedClock(), SHORT_TIMEOUT.database_timeout_s
    assert Limits().database_timeout_s < Limits().request_timeout_s, "a client times out before the database"
    with own_server.database() as url:
        store = close_later(open_threadless(url, clock=clock, limits=SHORT_TIMEOUT))
        store.run(add_thing("a"))
        assert thing_names(store) == ["a"]
        with own_server.suspended():
            with pytest.raises(StoreUnavailable, match="did not answer"):
                store.run(add_thing("b"))
            attempts_before = len(attempts)
            clock.advance(0.9 * wait_s)
            with pytest.raises(StoreUnavailable, match="did not answer"):
                store.run(add_thing("c"))
            assert attempts_before == len(attempts), "it was tried again at once, which takes as long as the first time"
        clock.advance(wait_s)
        wait_until(lambda: has_writer_session(store), "the writer has a session again")
        store.run(add_thing("d"))
        assert thing_names(store) == ["a", "d"]
        store.close()


def test_hang_after_login_times_out() -> None:
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept_login() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(LOGIN_ANSWER)
                done.wait(PATIENCE_S)

        threading.Thread(target=accept_login).start()
        url = f"postgresql://me@127.0.0.1:{listener.getsockname()[1]}/greenroom?sslmode=disable&gssencmode=disable"
        try:
            with pytest.raises(StoreUnavailable, match="did not answer for 3 s"):
                open_threadless(url, limits=SHORT_TIMEOUT)
        finally:
            done.set()


def test_locked_table_is_temporary_outage(url: str, close_later: CloseLater) -> None:
    store = close_later(open_threadless(url, limits=SHORT_TIMEOUT))
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE things")
        with pytest.raises(StoreUnavailable, match=r"lock timeout|did not answer"):
            store.run(add_thing("a"))
    wait_until(lambda: has_writer_session(store), "the writer has a session")
    assert store.run(add_thing("b")) == "b"


def test_ended_reader_sessions_are_replaced(url: str, postgres: PostgresServer, close_later: CloseLater) -> None:
    store = close_later(open_threadless(url))
    store.run(add_thing("a"))
    assert thing_names(store) == ["a"]
    ended = postgres.run_as_superuser(
        "SELECT pg_terminate_backend(pid, 300000) FROM pg_stat_activity"
        " WHERE application_name LIKE 'greenroom reader %%' AND datname = %s",
        database_name(url),
    )
    assert ended == [(True,)]
    assert thing_names(store) == ["a"]
    assert last_pos(store) == 1


def test_database_settings_are_overridden(url: str, postgres: PostgresServer, close_later: CloseLater) -> None:
    name = database_name(url)
    postgres.run_as_superuser(f"ALTER DATABASE {name} SET synchronous_commit = off")
    postgres.run_as_superuser(f"ALTER DATABASE {name} SET idle_session_timeout = '100ms'")
    writer = postgres_engine(close_later(open_threadless(url))).writer_cursor()
    writer.execute("SELECT current_setting('synchronous_commit'), current_setting('idle_session_timeout')")
    assert writer.fetchall() == [("on", SESSION_SETTINGS["idle_session_timeout"])]


def test_postgresql_prepares_all_statements(url: str, close_later: CloseLater) -> None:
    writer = postgres_engine(close_later(Store.open_without_thread(make_engine(url), SystemClock()))).writer_cursor()
    statements = [value for noun in TABLE_MODULES for value in vars(noun).values() if isinstance(value, Statement)]
    assert len(statements) > 50
    for statement in statements:
        writer.executemany(statement.compile_for(DIALECT).sql, [])  # prepared, but not executed


def test_nul_in_text_is_rejected(url: str, close_later: CloseLater) -> None:
    store = close_later(open_threadless(url))
    store.run(add_thing("a"))
    with pytest.raises(Unusable, match=r"U\+0000"):
        store.read(lambda reader: reader.rows(SIZE, thing="a\0b"))
    bad, good = store.writer.run_batch([add_thing("b\0"), add_thing("c")])
    assert isinstance(bad.exception(), Unusable)
    assert good.result() == "c"
    assert thing_names(store) == ["a", "c"]
