"""The catalogue shows each fault that a migration can leave behind."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from greenroom.store.tables import metadata
from tests.contract.catalogue import catalogue
from tests.contract.migration_databases import MigrationDatabase

SQLITE, POSTGRESQL = "sqlite", "postgresql"


class SchemaFault(NamedTuple):
    """What is wrong, the statements that plant it in a new database, and the start of the line that it removes."""

    name: str
    kind: str
    statements: tuple[str, ...]
    line_start: str


def change_table_sql(table: str, old: str, new: str) -> tuple[str, ...]:
    """Statements that change the text of CREATE TABLE in SQLite's catalogue."""
    old, new = (text.replace("'", "''") for text in (old, new))
    return (
        "PRAGMA writable_schema = ON",
        f"UPDATE sqlite_schema SET sql = replace(sql, '{old}', '{new}') WHERE name = '{table}'",
        "PRAGMA writable_schema = RESET",
    )


NO_INDEX = ("DROP INDEX ix_participants_present",)
NOT_PARTIAL = (*NO_INDEX, "CREATE UNIQUE INDEX ix_participants_present ON participants (room, role)")
NOT_UNIQUE = (
    "DROP INDEX ix_participants_epoch",
    "CREATE INDEX ix_participants_epoch ON participants (room, role, epoch)",
)
WRONG_CHECK = (
    "ALTER TABLE rooms DROP CONSTRAINT ck_rooms_status",
    "ALTER TABLE rooms ADD CONSTRAINT ck_rooms_status CHECK (status IN ('open', 'shut'))",
)

FAULTS = (
    SchemaFault(
        "a wrong CHECK",
        SQLITE,
        change_table_sql("rooms", "'closed'", "'shut'"),
        "item of rooms: CONSTRAINT ck_rooms_status",
    ),
    SchemaFault("a wrong CHECK", POSTGRESQL, WRONG_CHECK, "constraint rooms: ck_rooms_status"),
    SchemaFault(
        "no CHECK",
        SQLITE,
        change_table_sql("tasks", ", \n\tCONSTRAINT ck_tasks_origin CHECK (origin IN ('message', 'backlog'))", ""),
        "item of tasks: CONSTRAINT ck_tasks_origin",
    ),
    SchemaFault(
        "no CHECK",
        POSTGRESQL,
        ("ALTER TABLE tasks DROP CONSTRAINT ck_tasks_origin",),
        "constraint tasks: ck_tasks_origin",
    ),
    SchemaFault(
        "no NOT NULL", SQLITE, change_table_sql("events", "cause TEXT NOT NULL", "cause TEXT"), "column events.cause"
    ),
    SchemaFault(
        "no NOT NULL", POSTGRESQL, ("ALTER TABLE events ALTER cause DROP NOT NULL",), "column events: r, cause"
    ),
    SchemaFault(
        "a default", SQLITE, change_table_sql("tasks", "origin TEXT", "origin TEXT DEFAULT ''"), "column tasks.origin"
    ),
    SchemaFault("a default", POSTGRESQL, ("ALTER TABLE tasks ALTER origin SET DEFAULT ''",), "column tasks: r, origin"),
    SchemaFault("another type", SQLITE, change_table_sql("events", "seq INTEGER", "seq TEXT"), "column events.seq"),
    SchemaFault("another type", POSTGRESQL, ("ALTER TABLE events ALTER seq TYPE integer",), "column events: r, seq"),
    SchemaFault(
        "no UNIQUE", POSTGRESQL, ("ALTER TABLE tasks DROP CONSTRAINT uq_tasks_id",), "constraint tasks: uq_tasks_id"
    ),
    SchemaFault("an index not unique", SQLITE, NOT_UNIQUE, "index participants.ix_participants_epoch"),
    SchemaFault("an index not unique", POSTGRESQL, NOT_UNIQUE, "index participants: ix_participants_epoch"),
    SchemaFault("an index not partial", SQLITE, NOT_PARTIAL, "index participants.ix_participants_present"),
    SchemaFault("an index not partial", POSTGRESQL, NOT_PARTIAL, "index participants: ix_participants_present"),
    SchemaFault("no index", SQLITE, NO_INDEX, "index participants.ix_participants_present"),
    SchemaFault("no index", POSTGRESQL, NO_INDEX, "index participants: ix_participants_present"),
    SchemaFault("unchecked types", SQLITE, change_table_sql("notes", " STRICT", ""), "table notes: strict 1"),
    SchemaFault("no sequence", POSTGRESQL, ("ALTER TABLE notes ALTER num DROP DEFAULT",), "column notes: r, num"),
)


@pytest.mark.parametrize(
    ("create_database", "fault"),
    [(fault.kind, fault) for fault in FAULTS],
    indirect=["create_database"],
    ids=lambda value: value.name if isinstance(value, SchemaFault) else value,
)
def test_fault_changes_catalogue(create_database: Callable[[str], MigrationDatabase], fault: SchemaFault) -> None:
    database = create_database("planted")
    database.create_tables(metadata)
    with database.begin() as connection:
        before = catalogue(connection)

    database.execute(fault.statements)

    with database.begin() as connection:
        missing = before - catalogue(connection)
    assert [line for line in missing if line.startswith(fault.line_start)], missing


def test_whitespace_does_not_change_catalogue(create_database: Callable[[str], MigrationDatabase]) -> None:
    original, reformatted = create_database("here"), create_database("there")
    for database in (original, reformatted):
        database.create_tables(metadata)
    reformatted.execute(("DROP INDEX ix_tasks_room", "CREATE INDEX  ix_tasks_room\nON tasks (room,  num)"))

    with original.begin() as original_connection, reformatted.begin() as reformatted_connection:
        assert catalogue(original_connection) == catalogue(reformatted_connection)
