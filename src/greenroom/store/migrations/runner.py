"""Reads the schema revision of a database, then creates the tables, upgrades the database or refuses it.

Importing Alembic would take a third of the server's start time and a sixth of its memory. So a plain query reads the
revision, and `migrations.alembic_upgrade` is imported only when there is something to upgrade.
"""

import logging
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Final

from sqlalchemy import Column, MetaData, Table, insert
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateTable

from greenroom.domain.errors import ConfigurationError
from greenroom.store.engine import Cursor, Engine
from greenroom.store.schema import SCHEMA_VERSION, STRICT, TEXT, create_table_sql

logger = logging.getLogger("greenroom.store.migrations.runner")

CURRENT_REVISION: Final = f"{SCHEMA_VERSION:04}"
revisions: Final = Table("greenroom_revision", MetaData(), Column("version_num", TEXT, primary_key=True), **STRICT)
"""Has one row. Not Alembic's default name, so that another program's database with Alembic is not mistaken for this."""

TABLE_NAMES: Final = {
    "sqlite": "SELECT name FROM sqlite_schema",
    "postgresql": "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema()",
}
Upgrade = Callable[[Callable[[], Any], str, str], None]


def make_no_copy(revision: str) -> None:
    """Make no copy."""


def prepare_schema(
    engine: Engine,
    tables: MetaData,
    *,
    name: str,
    guidance: str,
    connect: Callable[[], Any],
    make_copy: Callable[[str], None] = make_no_copy,
) -> None:
    """Create the tables in an empty database, or upgrade an older one.

    Raises ConfigurationError for a newer database and for one that is not Greenroom's. Driver errors are not caught.

    The caller holds the lock that keeps other servers out of this database. `name` is the database's name in messages,
    and `guidance` the guidance when it is refused. `connect` opens another driver connection in autocommit mode, which
    is used only for an upgrade and closed after it. `make_copy` is called with the new revision before an upgrade.
    Creating and upgrading are one transaction each, so a process that is killed meanwhile has changed nothing.
    """
    revision = read_revision(engine.writer_cursor(), engine.dialect)
    if revision == CURRENT_REVISION:
        return
    if revision is None:
        create_schema(engine.writer_cursor(), engine.dialect, engine.begin_write_sql, tables)
    elif not re.fullmatch(r"\d{4}", revision):
        raise store_unusable_error(f"{name} is not a Greenroom database.", guidance)
    elif revision > CURRENT_REVISION:
        raise store_unusable_error(
            f"{name} was written by a newer Greenroom (schema {revision}; this version supports {CURRENT_REVISION}).",
            f"Start the newer version. Alternatively: {guidance}",
        )
    else:
        make_copy(CURRENT_REVISION)
        logger.info("upgrading database: %s: from schema %s to %s", name, revision, CURRENT_REVISION)
        upgrade: Upgrade = import_module("greenroom.store.migrations.alembic_upgrade").upgrade
        upgrade(connect, engine.dialect.name, engine.begin_write_sql)
        logger.info("database upgraded: %s: to schema %s", name, CURRENT_REVISION)


def read_revision(cursor: Cursor, dialect: Dialect) -> str | None:
    """Read the revision of a database: None if it is empty, a text that is not four digits if it is not Greenroom's."""
    cursor.execute(TABLE_NAMES[dialect.name])
    names = {name for (name,) in cursor.fetchall()}
    if revisions.name in names:
        cursor.execute(f"SELECT version_num FROM {revisions.name}")
        return " ".join(revision for (revision,) in cursor.fetchall())
    if dialect.name == "sqlite":
        # The first version stored its number only here, and refuses a database with a greater one.
        cursor.execute("PRAGMA user_version")
        [[version]] = cursor.fetchall()
        if version:
            return f"{version:04}"
    return "foreign" if names else None


def create_schema(cursor: Cursor, dialect: Dialect, begin_write: str, tables: MetaData) -> None:
    """Create all tables in one transaction and stamp the database with the newest revision."""
    cursor.execute(begin_write)
    for statement in (*create_table_sql(tables, dialect), *stamp_sql(dialect, SCHEMA_VERSION)):
        cursor.execute(statement)
    cursor.execute("COMMIT")


def stamp_sql(dialect: Dialect, version: int) -> Iterator[str]:
    """The SQL statements that stamp a database that has no stamp yet with a revision."""
    yield str(CreateTable(revisions).compile(dialect=dialect))
    row = insert(revisions).values(version_num=f"{version:04}")
    yield str(row.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    if dialect.name == "sqlite":
        yield f"PRAGMA user_version = {version}"


def store_unusable_error(detail: str, guidance: str) -> ConfigurationError:
    """The error for a store that cannot be used."""
    return ConfigurationError(detail, guidance, code="store_unusable")
