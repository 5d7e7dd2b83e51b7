"""Which revision of the schema a database has, and what follows: make, upgrade or refuse it. Must not know any table.

Alembic would take a third of the server's start and a sixth of its memory. So a plain query asks for the revision here,
and what lies behind `migrations.upgrading` is imported only when there is something to upgrade.
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
from greenroom.store.schema import SCHEMA_VERSION, STRICT, TEXT, spell_tables

logger = logging.getLogger("greenroom.store")

REVISION: Final = f"{SCHEMA_VERSION:04}"
revisions: Final = Table("greenroom_revision", MetaData(), Column("version_num", TEXT, primary_key=True), **STRICT)
"""Has one row. A name of our own, so that the database of another program that uses Alembic is not taken for ours."""

TABLE_NAMES: Final = {
    "sqlite": "SELECT name FROM sqlite_schema",
    "postgresql": "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema()",
}
Upgrade = Callable[[Callable[[], Any], str, str], None]


def keep_no_copy(revision: str) -> None:
    """Upgrade as it is."""


def prepare(
    engine: Engine,
    tables: MetaData,
    *,
    name: str,
    way_out: str,
    connect: Callable[[], Any],
    keep_copy: Callable[[str], None] = keep_no_copy,
) -> None:
    """Make an empty database ours and upgrade an older one; raise ConfigurationError for any other that is not current.

    The caller holds the lock by which no other server uses this database. `name` is what people call it and `way_out`
    says what they can do when it is refused. `connect` opens another connection of the driver, which commits by itself
    outside of BEGIN; it is used for an upgrade alone and closed after it. `keep_copy` is called before an upgrade, with
    the revision to come. Making and upgrading are one transaction each, so a process that is killed changed nothing.
    An error of the driver passes through.
    """
    revision = revision_of(engine.writing(), engine.dialect)
    if revision == REVISION:
        return
    if revision is None:
        create(engine.writing(), engine.dialect, engine.begin_write, tables)
    elif not re.fullmatch(r"\d{4}", revision):
        raise unusable(f"{name} is not a Greenroom database.", way_out)
    elif revision > REVISION:
        raise unusable(
            f"{name} was written by a newer Greenroom (schema {revision}; this one knows {REVISION}).",
            f"Start the newer version. Or else: {way_out}",
        )
    else:
        keep_copy(REVISION)
        logger.info("upgrading %s from schema %s to %s", name, revision, REVISION)
        upgrade: Upgrade = import_module("greenroom.store.migrations.upgrading").upgrade
        upgrade(connect, engine.dialect.name, engine.begin_write)
        logger.info("upgraded %s to schema %s", name, REVISION)


def revision_of(cursor: Cursor, dialect: Dialect) -> str | None:
    """Find the revision of a database: None for an empty one, and what is no number for one that is not ours."""
    cursor.execute(TABLE_NAMES[dialect.name])
    names = {name for (name,) in cursor.fetchall()}
    if revisions.name in names:
        cursor.execute(f"SELECT version_num FROM {revisions.name}")
        return " ".join(revision for (revision,) in cursor.fetchall())
    if dialect.name == "sqlite":
        # The first version wrote its number here and nowhere else; it refuses whatever has a greater one.
        cursor.execute("PRAGMA user_version")
        [[version]] = cursor.fetchall()
        if version:
            return f"{version:04}"
    return "foreign" if names else None


def create(cursor: Cursor, dialect: Dialect, begin_write: str, tables: MetaData) -> None:
    """Create everything in one transaction and stamp it with the newest revision."""
    cursor.execute(begin_write)
    for text in (*spell_tables(tables, dialect), *spell_stamp(dialect, SCHEMA_VERSION)):
        cursor.execute(text)
    cursor.execute("COMMIT")


def spell_stamp(dialect: Dialect, version: int) -> Iterator[str]:
    """Spell the statements that stamp a database which has no stamp yet."""
    yield str(CreateTable(revisions).compile(dialect=dialect))
    row = insert(revisions).values(version_num=f"{version:04}")
    yield str(row.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    if dialect.name == "sqlite":
        yield f"PRAGMA user_version = {version}"


def unusable(detail: str, guidance: str) -> ConfigurationError:
    """The error for a store that cannot be used."""
    return ConfigurationError(detail, guidance, code="store_unusable")
