"""Databases on PostgreSQL that cannot be used: each error says what to do, and contains no password."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from greenroom.clock import SystemClock
from greenroom.domain.errors import ConfigurationError, StoreUnavailable
from greenroom.store.migrations.runner import revisions
from greenroom.store.store import Store
from tests.contract.postgres_stores import CloseLater, database_name, open_threadless
from tests.postgres import PostgresServer, make_engine


def open_error(url: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        open_threadless(url)
    return str(caught.value)


def outage_error(url: str) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        open_threadless(url)
    return str(caught.value)


def test_missing_database(postgres: PostgresServer) -> None:
    assert "createdb" in open_error(postgres.url("nowhere"))


def test_missing_user(postgres: PostgresServer) -> None:
    assert "createuser" in open_error(postgres.url(user="missing_user"))


def test_missing_server_without_password_in_error() -> None:
    error = outage_error("postgresql://me:hush-hush@127.0.0.1:1/greenroom?connect_timeout=2")
    assert "Start PostgreSQL" in error
    assert "greenroom on 127.0.0.1:1" in error
    assert "hush" not in error


@contextmanager
def refusing_server(message: str) -> Iterator[str]:
    """The URL of a server that answers each attempt to connect with PostgreSQL's error message."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        stopped = threading.Event()

        def serve() -> None:
            while True:
                connection, _ = listener.accept()
                with connection:
                    if stopped.is_set():
                        return
                    connection.recv(4096)
                    fields = b"SFATAL\0VFATAL\0CXXXXX\0M" + message.encode() + b"\0\0"
                    connection.sendall(b"E" + (len(fields) + 4).to_bytes(4) + fields)

        pool.submit(serve)
        yield f"postgresql://me@127.0.0.1:{listener.getsockname()[1]}/greenroom?sslmode=disable&gssencmode=disable"
        stopped.set()
        socket.create_connection(listener.getsockname()).close()


@pytest.mark.parametrize(
    ("message", "guidance"),
    [
        ("the database system is starting up", "Wait until PostgreSQL"),
        ("the database system is shutting down", "Wait until PostgreSQL"),
        ("the database system is in recovery mode", "Wait until PostgreSQL"),
        ("the database system is not yet accepting connections", "Wait until PostgreSQL"),
        ("sorry, too many clients already", "max_connections"),
        ("remaining connection slots are reserved for roles with the SUPERUSER attribute", "max_connections"),
        ("could not write init file: No space left on device", "Free some space"),
    ],
)
def test_refusal_that_passes_is_an_outage(message: str, guidance: str) -> None:
    """The advice is never to create a database, whatever other words the message has."""
    with refusing_server(message) as url:
        error = outage_error(url)
    assert message in error
    assert guidance in error
    assert "createdb" not in error


@pytest.mark.parametrize(
    ("message", "guidance"),
    [
        ('password authentication failed for user "me"', "~/.pgpass"),
        ('Peer authentication failed for user "me"', "pg_hba.conf"),
        ('no pg_hba.conf entry for host "10.0.0.1", user "me", database "greenroom"', "pg_hba.conf"),
        ('database "greenroom" does not exist', "createdb"),
        ('role "me" is not permitted to log in', "createuser"),
        ('permission denied for database "greenroom"', "GRANT CREATE"),
    ],
)
def test_refusal_that_a_person_must_mend(message: str, guidance: str) -> None:
    with refusing_server(message) as url:
        error = open_error(url)
    assert message in error
    assert guidance in error


@pytest.mark.parametrize("bad", ["postgresql://me:hush%zz@host/db", "postgresql://me:hush@host/db?hush=1"])
def test_invalid_url_is_not_repeated(bad: str) -> None:
    error = open_error(bad)
    assert "%40" in error
    assert "hush" not in error


def test_foreign_database(url: str, postgres: PostgresServer) -> None:
    postgres.run_as_superuser("CREATE TABLE accounts (id int)", database=database_name(url))
    assert "not a Greenroom database" in open_error(url)


def test_newer_database(url: str, postgres: PostgresServer) -> None:
    open_threadless(url).close()
    name = database_name(url)
    postgres.run_as_superuser(f"UPDATE {revisions.name} SET version_num = '9999'", database=name)
    assert "newer Greenroom" in open_error(url)


def test_database_encoding(postgres: PostgresServer) -> None:
    with postgres.database("ENCODING 'LATIN1' LOCALE 'C'") as url:
        assert "LATIN1" in open_error(url)


def test_user_without_create_right(url: str, postgres: PostgresServer) -> None:
    postgres.run_as_superuser("DROP ROLE IF EXISTS guest")
    postgres.run_as_superuser("CREATE ROLE guest LOGIN")
    assert "GRANT CREATE" in open_error(url.replace("postgres@", "guest@"))


def test_text_columns_use_c_collation(url: str, close_later: CloseLater) -> None:
    close_later(Store.open_without_thread(make_engine(url), SystemClock()))
    with psycopg.connect(url) as connection:
        other = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"
        ).fetchall()
    assert other == []
