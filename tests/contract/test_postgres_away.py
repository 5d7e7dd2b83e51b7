"""PostgreSQL stops, hangs and returns; and settings of a database do not weaken what the store requires."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import psycopg
import pytest

from greenroom.clock import MovedClock, SystemClock
from greenroom.domain.errors import ConfigurationError, StoreUnavailable, Unusable
from greenroom.domain.reliability import Reliability
from greenroom.store.postgres.connection import SETTINGS, Address
from greenroom.store.postgres.engine import DIALECT
from greenroom.store.postgres.session import Session
from greenroom.store.statement import Statement
from greenroom.store.store import Store
from greenroom.store.tables import NOUNS
from tests.contract.hosted import Closing, Heard, engine_of, name_in, still
from tests.contract.things import SIZE, adding, everything, last_pos, names, tables
from tests.postgres import UNHURRIED, Server, engine_at, place_of
from tests.waiting import PATIENCE_S, wait_until

GIVES_UP_SOON = Reliability(database_timeout_s=3.0)
"""For a database that does not answer. The answers that it does give take milliseconds."""


def message(kind: bytes, content: bytes) -> bytes:
    return kind + (len(content) + 4).to_bytes(4) + content


WELCOME = (
    message(b"R", bytes(4))
    + message(b"S", b"server_version\0" + b"18.0\0")
    + message(b"S", b"default_transaction_read_only\0off\0")
    + message(b"S", b"in_hot_standby\0off\0")
    + message(b"Z", b"I")
)
"""The messages with which PostgreSQL accepts a user without a password."""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """A PostgreSQL server of this test's own, which it may stop."""
    server = Server(place_of(tmp_path))
    yield server
    server.close()


def is_regained(store: Store) -> bool:
    store.keep_lock()
    return engine_of(store)._writer is not None


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of each session that the store tried to open."""
    tried: list[str] = []
    connect = Address.connect

    def counted(address: Address, name: str, *arguments: Any, **more: Any) -> Session:
        tried.append(name)
        return connect(address, name, *arguments, **more)

    monkeypatch.setattr(Address, "connect", counted)
    return tried


def test_it_is_used_again_when_it_is_back(own: Server, tmp_path: Path, attempts: list[str], closing: Closing) -> None:
    heard = Heard()
    with own.database() as url:
        store = closing(
            Store.open(tmp_path, SystemClock(), database=url, limits=UNHURRIED, tables=tables, publish=heard.publish)
        )
        store.write(adding("a")).result(PATIENCE_S)
        assert names(store) == ["a"]
        futures = {f"{number:03}": store.write(adding(f"{number:03}")) for number in range(200)}
        own.stop("immediate")
        wait(futures.values(), PATIENCE_S)
        for fail in (lambda: store.write(adding("away")).result(PATIENCE_S), lambda: names(store)):
            tried = len(attempts)
            with pytest.raises(StoreUnavailable):
                fail()
            assert len(attempts) - tried <= 1, "more than one attempt was made although no server listens"
        store.keep_lock()

        own.start()
        wait_until(lambda: is_regained(store), "the writer has a session again")
        store.write(adding("z")).result(PATIENCE_S)
        done = ["a", *(name for name, future in futures.items() if future.exception(PATIENCE_S) is None), "z"]
        assert names(store) == sorted(done)
        assert heard == everything(store)
        store.close()


def test_a_database_that_says_nothing_is_given_up(url: str, postgres: Server, closing: Closing) -> None:
    store = closing(still(url, limits=GIVES_UP_SOON))
    with pytest.raises(StoreUnavailable, match=r"statement timeout|did not answer"):
        store.run(lambda transaction: transaction._cursor.execute(f"SELECT pg_sleep({PATIENCE_S})"))
    wait_until(lambda: is_regained(store), "the writer has a session")
    assert store.run(adding("a")) == "a"


def test_after_a_silence_nobody_waits_as_long_to_find_the_same(
    own: Server, attempts: list[str], closing: Closing
) -> None:
    clock, wait_s = MovedClock(), GIVES_UP_SOON.database_timeout_s
    assert Reliability().database_timeout_s < Reliability().request_timeout_s, "a client times out before the database"
    with own.database() as url:
        store = closing(still(url, clock=clock, limits=GIVES_UP_SOON))
        store.run(adding("a"))
        assert names(store) == ["a"]
        with own.hanging():
            with pytest.raises(StoreUnavailable, match="did not answer"):
                store.run(adding("b"))
            tried = len(attempts)
            clock.move(0.9 * wait_s)
            with pytest.raises(StoreUnavailable, match="did not answer"):
                store.run(adding("c"))
            assert tried == len(attempts), "it was tried again at once, which takes as long as the first time"
        clock.move(wait_s)
        wait_until(lambda: is_regained(store), "the writer has a session again")
        store.run(adding("d"))
        assert names(store) == ["a", "d"]
        store.close()


def test_a_server_that_lets_us_in_and_then_says_nothing_is_given_up() -> None:
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def let_in() -> None:
            line, _ = listener.accept()
            with line:
                line.recv(4096)
                line.sendall(WELCOME)
                done.wait(PATIENCE_S)

        threading.Thread(target=let_in).start()
        url = f"postgresql://me@127.0.0.1:{listener.getsockname()[1]}/house?sslmode=disable&gssencmode=disable"
        try:
            with pytest.raises(ConfigurationError, match="did not answer for 3 s"):
                still(url, limits=GIVES_UP_SOON)
        finally:
            done.set()


def test_a_table_that_somebody_locks_is_an_outage_that_passes(url: str, closing: Closing) -> None:
    store = closing(still(url, limits=GIVES_UP_SOON))
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE things")
        with pytest.raises(StoreUnavailable, match=r"lock timeout|did not answer"):
            store.run(adding("a"))
    wait_until(lambda: is_regained(store), "the writer has a session")
    assert store.run(adding("b")) == "b"


def test_readers_whose_sessions_ended_are_replaced(url: str, postgres: Server, closing: Closing) -> None:
    store = closing(still(url))
    store.run(adding("a"))
    assert names(store) == ["a"]
    ended = postgres.admin(
        "SELECT pg_terminate_backend(pid, 300000) FROM pg_stat_activity"
        " WHERE application_name LIKE 'greenroom reader %%' AND datname = %s",
        name_in(url),
    )
    assert ended == [(True,)]
    assert names(store) == ["a"]
    assert last_pos(store) == 1


def test_an_answer_waits_for_the_disk_whatever_the_database_is_set_to(
    url: str, postgres: Server, closing: Closing
) -> None:
    name = name_in(url)
    postgres.admin(f"ALTER DATABASE {name} SET synchronous_commit = off")
    postgres.admin(f"ALTER DATABASE {name} SET idle_session_timeout = '100ms'")
    writer = engine_of(closing(still(url))).writing()
    writer.execute("SELECT current_setting('synchronous_commit'), current_setting('idle_session_timeout')")
    assert writer.fetchall() == [("on", SETTINGS["idle_session_timeout"])]


def test_every_statement_is_understood(url: str, closing: Closing) -> None:
    writer = engine_of(closing(Store.open_still(engine_at(url), SystemClock()))).writing()
    statements = [value for noun in NOUNS for value in vars(noun).values() if isinstance(value, Statement)]
    assert len(statements) > 50
    for statement in statements:
        writer.executemany(statement.spelled(DIALECT).sql, [])  # prepared, but not executed


def test_a_text_that_postgresql_would_cut_short_is_refused(url: str, closing: Closing) -> None:
    store = closing(still(url))
    store.run(adding("a"))
    with pytest.raises(Unusable, match=r"U\+0000"):
        store.read(lambda reader: reader.rows(SIZE, thing="a\0b"))
    bad, good = store.writer.run_batch([adding("b\0"), adding("c")])
    assert isinstance(bad.exception(), Unusable)
    assert good.result() == "c"
    assert names(store) == ["a", "c"]
