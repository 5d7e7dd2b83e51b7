"""Describes a database's tables from its system catalogue: one line for each column, constraint, index and so on.

The order of columns and constraints is left out, since no statement of Greenroom depends on it. Alembic's comparison is
not used because it does not compare the text of CHECK constraints.
"""

import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

from greenroom.store.migrations.runner import revisions

# No pragma reports these; they stand only in the text of CREATE TABLE.
ONLY_IN_TEXT = re.compile(r"\b(CONSTRAINT|CHECK|COLLATE|GENERATED|REFERENCES)\b", re.IGNORECASE)

SQLITE_TABLES = """
    SELECT t.name, t.type, t.strict, t.wr, s.sql FROM pragma_table_list t JOIN sqlite_schema s ON s.name = t.name
    WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite_%' AND t.name != ?
"""
POSTGRESQL_COLUMNS = """
    SELECT c.relname, c.relkind, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
           a.attgenerated, a.attcollation, pg_get_expr(d.adbin, d.adrelid), pg_get_serial_sequence(c.relname, a.attname)
    FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND a.attnum > 0 AND NOT a.attisdropped AND c.relname != %s
"""
POSTGRESQL_CONSTRAINTS = """
    SELECT r.relname, c.conname, c.contype, c.convalidated, c.condeferrable, pg_get_constraintdef(c.oid)
    FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid
    WHERE c.connamespace = current_schema()::regnamespace AND r.relname != %s
"""
POSTGRESQL_INDEXES = (
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename != %s"
)
POSTGRESQL_SEQUENCES = """
    SELECT sequencename, data_type::text, start_value, increment_by, max_value, cycle FROM pg_sequences
    WHERE schemaname = current_schema() AND %s != ''
"""
POSTGRESQL_TRIGGERS = """
    SELECT r.relname, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class r ON r.oid = t.tgrelid
    WHERE NOT t.tgisinternal AND r.relname != %s
"""


def catalogue(connection: Connection) -> set[str]:
    """The description of all tables, except the one with the revision."""
    describe = {"sqlite": describe_sqlite, "postgresql": describe_postgresql}[connection.dialect.name]
    return set(describe(connection))


def describe_sqlite(connection: Connection) -> Iterator[str]:
    def rows(sql: str, *arguments: object) -> list[Any]:
        return list(connection.exec_driver_sql(sql, arguments))

    for table, kind, is_strict, is_rowidless, sql in rows(SQLITE_TABLES, revisions.name):
        yield f"{kind} {table}: strict {is_strict}, without rowid {is_rowidless}"
        for _, name, type_, is_required, default, key, hidden in rows(f"PRAGMA table_xinfo({table})"):
            details = f"not null {is_required}, default {default}, key {key}, hidden {hidden}"
            yield f"column {table}.{name}: {type_}, {details}"
        for _, name, is_unique, origin, is_partial in rows(f"PRAGMA index_list({table})"):
            columns = [tuple(row[2:5]) for row in rows(f"PRAGMA index_xinfo({name})") if row[5]]
            [[text]] = rows("SELECT sql FROM sqlite_schema WHERE name = ?", name)
            # The index of a constraint has no text, and a generated name that counts the constraints before it.
            label = name if origin == "c" else origin
            yield f"index {table}.{label}: {columns}, unique {is_unique}, partial {is_partial}, {normalise(text or '')}"
        for row in rows(f"PRAGMA foreign_key_list({table})"):
            yield f"foreign key {table}: {tuple(row[2:])}"
        for item in table_items(sql):
            if ONLY_IN_TEXT.search(item):
                yield f"item of {table}: {normalise(item)}"
    for kind, name, sql in rows("SELECT type, name, sql FROM sqlite_schema WHERE type NOT IN ('table', 'index')"):
        yield f"{kind} {name}: {normalise(sql)}"


def describe_postgresql(connection: Connection) -> Iterator[str]:
    for kind, sql in (
        ("column", POSTGRESQL_COLUMNS),
        ("constraint", POSTGRESQL_CONSTRAINTS),
        ("index", POSTGRESQL_INDEXES),
        ("sequence", POSTGRESQL_SEQUENCES),
        ("trigger", POSTGRESQL_TRIGGERS),
    ):
        for table, *values in connection.exec_driver_sql(sql, (revisions.name,)):
            yield f"{kind} {table}: {', '.join(map(str, values))}"


def table_items(sql: str) -> Iterator[str]:
    """The columns and constraints of a CREATE TABLE: the parts between commas outside of brackets and quotes."""
    depth, item = 0, ""
    for part in re.findall(r"'[^']*'|\"[^\"]*\"|[(),]|[^'\"(),]+", sql[sql.index("(") + 1 : sql.rindex(")")]):
        depth += {"(": 1, ")": -1}.get(part, 0)
        if part == "," and depth == 0:
            yield item
            item = ""
        else:
            item += part
    yield item


def normalise(sql: str) -> str:
    """The text with each run of whitespace replaced by one blank."""
    return " ".join(sql.split())
