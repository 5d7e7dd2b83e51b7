"""Databases on PostgreSQL that cannot be used: each error says what to do, and contains no password."""

import psycopg
import pytest

from greenroom.clock import SystemClock
from greenroom.domain.errors import ConfigurationError
from greenroom.store.migrating import revisions
from greenroom.store.store import Store
from tests.contract.hosted import Closing, name_in, still
from tests.postgres import Server, engine_at


def refused(url: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        still(url)
    return str(caught.value)


def test_a_database_that_is_not_there(postgres: Server) -> None:
    assert "createdb" in refused(postgres.url("nowhere"))


def test_a_user_that_is_not_there(postgres: Server) -> None:
    assert "createuser" in refused(postgres.url(user="nobody_of_that_name"))


def test_a_server_that_is_not_there_and_the_password_is_not_told() -> None:
    said = refused("postgresql://me:hush-hush@127.0.0.1:1/greenroom?connect_timeout=2")
    assert "Start PostgreSQL" in said
    assert "greenroom on 127.0.0.1:1" in said
    assert "hush" not in said


@pytest.mark.parametrize("bad", ["postgresql://me:hush%zz@host/db", "postgresql://me:hush@host/db?hush=1"])
def test_a_url_that_cannot_be_read_is_not_repeated(bad: str) -> None:
    said = refused(bad)
    assert "%40" in said
    assert "hush" not in said


def test_a_database_of_something_else(url: str, postgres: Server) -> None:
    postgres.admin("CREATE TABLE accounts (id int)", database=name_in(url))
    assert "not a Greenroom database" in refused(url)


def test_a_database_of_a_newer_version(url: str, postgres: Server) -> None:
    still(url).close()
    name = name_in(url)
    postgres.admin(f"UPDATE {revisions.name} SET version_num = '9999'", database=name)
    assert "newer Greenroom" in refused(url)


def test_a_database_that_cannot_hold_every_text(postgres: Server) -> None:
    with postgres.database("ENCODING 'LATIN1' LOCALE 'C'") as url:
        assert "LATIN1" in refused(url)


def test_a_user_that_may_create_nothing(url: str, postgres: Server) -> None:
    postgres.admin("DROP ROLE IF EXISTS guest")
    postgres.admin("CREATE ROLE guest LOGIN")
    assert "GRANT CREATE" in refused(url.replace("postgres@", "guest@"))


def test_text_is_compared_as_on_sqlite_whatever_the_database_prefers(url: str, closing: Closing) -> None:
    closing(Store.open_still(engine_at(url), SystemClock()))
    with psycopg.connect(url) as connection:
        other = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"
        ).fetchall()
    assert other == []
