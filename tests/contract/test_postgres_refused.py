"""Databases on PostgreSQL that cannot be used: each error says what to do, and contains no password."""

import psycopg
import pytest

from greenroom.clock import SystemClock
from greenroom.domain.errors import ConfigurationError
from greenroom.store.migrations.runner import revisions
from greenroom.store.store import Store
from tests.contract.postgres_stores import CloseLater, database_name, open_threadless
from tests.postgres import PostgresServer, make_engine


def open_error(url: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        open_threadless(url)
    return str(caught.value)


def test_missing_database(postgres: PostgresServer) -> None:
    assert "createdb" in open_error(postgres.url("nowhere"))


def test_missing_user(postgres: PostgresServer) -> None:
    assert "createuser" in open_error(postgres.url(user="missing_user"))


def test_missing_server_without_password_in_error() -> None:
    error = open_error("postgresql://me:hush-hush@127.0.0.1:1/greenroom?connect_timeout=2")
    assert "Start PostgreSQL" in error
    assert "greenroom on 127.0.0.1:1" in error
    assert "hush" not in error


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
