"""Upgrades a database to the newest revision with Alembic, in one transaction.

Only `migrations.runner` imports it, by name and on demand: importing Alembic takes longer than opening a store.
"""

from collections.abc import Callable
from typing import Any, Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, inspect
from sqlalchemy.exc import DBAPIError

from greenroom.store.migrations.runner import revisions, stamp_sql
from greenroom.store.schema import SCHEMA_VERSION

SCRIPTS: Final = "greenroom.store:migrations"
DRIVERS: Final = {"sqlite": "sqlite+pysqlite://", "postgresql": "postgresql+psycopg://"}
FIRST_VERSION: Final = 1
"""The version whose databases have no revision stamp that Alembic can read."""


def upgrade(connect: Callable[[], Any], database: str, begin: str) -> None:
    """Upgrade a database of Greenroom. Raises the driver's errors; then nothing has changed.

    `connect` opens a driver connection in autocommit mode for `database` ("sqlite" or "postgresql"); `begin` is the
    statement that begins a transaction.
    """
    try:
        with create_sqlalchemy_engine(connect, database, begin).begin() as connection:
            upgrade_connection(connection)
    except DBAPIError as error:
        # The driver's error only: SQLAlchemy's text adds the whole statement, which is of no use in the message.
        raise error.orig or error from None


def upgrade_connection(connection: Connection) -> None:
    """Upgrade in the open transaction of a connection."""
    if not inspect(connection).has_table(revisions.name):
        for statement in stamp_sql(connection.dialect, FIRST_VERSION):
            connection.exec_driver_sql(statement)
    command.upgrade(create_config(connection), "head")
    if connection.dialect.name == "sqlite":
        # The first version, which does not read the table of revisions, sees by this that the database is newer.
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")


def create_sqlalchemy_engine(connect: Callable[[], Any], database: str, begin: str) -> Engine:
    """Wrap a driver's connections for Alembic, which needs a SQLAlchemy engine."""
    engine = create_engine(DRIVERS[database], creator=connect, poolclass=NullPool)
    # Explicit, because drivers begin transactions at a time of their own: pysqlite only after the first DDL.
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def create_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration: the path of the revisions, and the connection that `migrations/env.py` runs them on."""
    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    config.attributes["connection"] = connection
    return config
