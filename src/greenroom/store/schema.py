"""Defines the column types, the naming of constraints and the schema version, and collects all tables in `metadata`.

A column is TEXT, INTEGER or REAL, so rows need no conversion on any database. A boolean is 0 or 1; an instant or a JSON
value is TEXT. Each table is declared with `**STRICT`: SQLite then checks types as PostgreSQL does.
"""

from typing import Any, Final

from sqlalchemy import BigInteger, Double, MetaData, Text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.types import TypeEngine

SCHEMA_VERSION: Final = 4
"""The number of the newest revision in `migrations/`. An older store is upgraded, a newer one is refused."""

TEXT: Final = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""Compared byte by byte on every database: a system's collation would differ, and change with its libraries."""
INTEGER: Final[TypeEngine[int]] = BigInteger().with_variant(sqlite.INTEGER(), "sqlite")
"""64 bits on every database; on SQLite also the only type name that makes a primary key the rowid."""
REAL: Final[TypeEngine[float]] = Double().with_variant(sqlite.REAL(), "sqlite")

STRICT: Final[dict[str, Any]] = {"sqlite_strict": True}

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def create_table_sql(tables: MetaData, dialect: Dialect) -> list[str]:
    """The SQL statements that create every table and index, in an order that satisfies their foreign keys."""
    statements = []
    for table in tables.sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=dialect)))
        statements += [str(CreateIndex(index).compile(dialect=dialect)) for index in sorted(table.indexes, key=str)]
    return statements
