"""Databases on SQLite and PostgreSQL for the tests of migrations: empty, of the current version, or of an older one."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
from alembic import command
from sqlalchemy import Connection, MetaData, inspect
from sqlalchemy.schema import CreateTable

from greenroom.store import sqlite
from greenroom.store.migrations import alembic_upgrade, runner
from greenroom.store.migrations.runner import revisions
from greenroom.store.postgres import engine as postgres
from greenroom.store.store import DATABASE_NAME, Store
from greenroom.testing import MovedClock

FIRST: Final = "0001"
THIRD: Final = "0003"
THIRD_ROWS_FILE: Final = Path(__file__).with_name("store_0003.sql")
"""The same for schema 3, the last one with the names from before the glossary."""
FIRST_ROWS_FILE: Final = Path(__file__).with_name("store_0001.sql")
"""Statements that insert the rows of a store of the first version, written by that version: rows in every table."""


class MigrationDatabase(NamedTuple):
    """The place of a store: a data directory, and the URL of its database unless that is a file in the directory."""

    directory: Path
    url: str | None = None

    @property
    def kind(self) -> str:
        return "sqlite" if self.url is None else "postgresql"

    def connect(self) -> Any:
        """A connection of the driver, in autocommit mode outside of BEGIN."""
        if self.url is None:
            return sqlite3.connect(self.directory / DATABASE_NAME, isolation_level=None)
        return psycopg.connect(self.url, autocommit=True)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A SQLAlchemy transaction on a connection of its own."""
        with alembic_upgrade.create_sqlalchemy_engine(self.connect, self.kind, "BEGIN").begin() as connection:
            yield connection

    def execute(self, statements: Iterable[str]) -> None:
        """Run statements without parameters, each in its own transaction."""
        with closing(self.connect()) as connection:
            for statement in statements:
                connection.execute(statement)

    def create_tables(self, tables: MetaData) -> None:
        """Create the tables of a new store, as `Store.open` does for an empty database."""
        dialect = sqlite.DIALECT if self.url is None else postgres.DIALECT
        with closing(self.connect()) as connection:
            runner.create_schema(connection.cursor(), dialect, "BEGIN", tables)

    def create_first_version(self) -> None:
        """Create a store as the first version did, with rows in every table.

        On SQLite that version had no table of revisions. On PostgreSQL no store of that version ever existed.
        """
        with self.begin() as connection:
            connection.execute(CreateTable(revisions))
            command.upgrade(alembic_upgrade.create_config(connection), FIRST)
            for line in FIRST_ROWS_FILE.read_text("utf-8").splitlines():
                connection.exec_driver_sql(line, execution_options={"no_parameters": True})
        if self.kind == "sqlite":
            self.execute((f"DROP TABLE {revisions.name}", "PRAGMA user_version = 1"))

    def create_third_version(self) -> None:
        """Create a store as the last version with schema 3 did, with work open and agents that are held back."""
        with self.begin() as connection:
            connection.execute(CreateTable(revisions))
            command.upgrade(alembic_upgrade.create_config(connection), THIRD)
            for line in THIRD_ROWS_FILE.read_text("utf-8").splitlines():
                connection.exec_driver_sql(line, execution_options={"no_parameters": True})
            if self.kind == "postgresql":
                for table in inspect(connection).get_table_names():
                    numbered = f"SELECT setval(pg_get_serial_sequence('{table}', 'num'), max(num)) FROM {table}"
                    if any(column["name"] == "num" for column in inspect(connection).get_columns(table)):
                        connection.exec_driver_sql(numbered)
        if self.kind == "sqlite":
            self.execute((f"PRAGMA user_version = {int(THIRD)}",))

    def upgrade_to(self, version: int) -> None:
        """Upgrade a store of the first version to `version`, as that former version did."""
        with self.begin() as connection:
            if not inspect(connection).has_table(revisions.name):
                for statement in runner.stamp_sql(connection.dialect, 1):
                    connection.exec_driver_sql(statement)
            command.upgrade(alembic_upgrade.create_config(connection), f"{version:04}")
        if self.kind == "sqlite":
            self.execute((f"PRAGMA user_version = {version}",))

    def upgrade(self) -> None:
        """Upgrade to the newest revision as `Store.open` does, but without its checks and its copy."""
        alembic_upgrade.upgrade(self.connect, self.kind, "BEGIN")

    def open(self, clock: MovedClock) -> Store:
        """Open the store as a server does."""
        return Store.open(self.directory, clock, database=self.url)

    def all_rows(self) -> dict[str, list[dict[str, Any]]]:
        """Every row of every table, by the names of its columns."""
        with self.begin() as connection:
            return {
                name: [
                    dict(row) for row in connection.exec_driver_sql(f"SELECT * FROM {name} ORDER BY 1, 2").mappings()
                ]
                for name in inspect(connection).get_table_names()
                if name != revisions.name
            }

    def stamp(self) -> list[str]:
        """The revision of the database, as it is stored in each place."""
        with self.begin() as connection:
            queries = ["PRAGMA user_version"] if self.kind == "sqlite" else []
            if inspect(connection).has_table(revisions.name):
                queries.append(f"SELECT version_num FROM {revisions.name}")
            return [str(value) for sql in queries for (value,) in connection.exec_driver_sql(sql)]
