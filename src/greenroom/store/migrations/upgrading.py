"""Upgrades a database to the newest revision, in one transaction. Must not know which revisions there are.

Reached by name, from `greenroom.store.migrating` alone: importing Alembic takes longer than opening a store.
"""

from collections.abc import Callable
from typing import Any, Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, inspect
from sqlalchemy.exc import DBAPIError

from greenroom.store.migrating import revisions, spell_stamp
from greenroom.store.schema import SCHEMA_VERSION

SCRIPTS: Final = "greenroom.store:migrations"
DRIVERS: Final = {"sqlite": "sqlite+pysqlite://", "postgresql": "postgresql+psycopg://"}
FIRST: Final = 1
"""The version whose databases have no stamp that Alembic could read."""


def upgrade(connect: Callable[[], Any], database: str, begin: str) -> None:
    """Upgrade a database that is ours. An error is the driver's own; then everything is as it was.

    `connect` opens a connection of the driver for `database` ("sqlite" or "postgresql"), which commits by itself
    outside of a transaction; `begin` is the statement that begins one.
    """
    try:
        with engine_of(connect, database, begin).begin() as connection:
            upgrade_on(connection)
    except DBAPIError as error:
        # What SQLAlchemy says around it, the whole statement, helps nobody whose disk is full.
        raise error.orig or error from None


def upgrade_on(connection: Connection) -> None:
    """Upgrade in the transaction that stands on a connection."""
    if not inspect(connection).has_table(revisions.name):
        for text in spell_stamp(connection.dialect, FIRST):
            connection.exec_driver_sql(text)
    command.upgrade(configured(connection), "head")
    if connection.dialect.name == "sqlite":
        # Says to versions that know nothing of our table of revisions that this database is newer than they are.
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")


def engine_of(connect: Callable[[], Any], database: str, begin: str) -> Engine:
    """Wrap a driver's connections for Alembic, which speaks to SQLAlchemy alone."""
    engine = create_engine(DRIVERS[database], creator=connect, poolclass=NullPool)
    # Said by us, because drivers begin transactions where they think best: pysqlite does it behind the first DDL.
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def configured(connection: Connection | None = None) -> Config:
    """What Alembic has to know: where the revisions lie, and for `migrations/env.py` the connection to run them on."""
    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    config.attributes["connection"] = connection
    return config
