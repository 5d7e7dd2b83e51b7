"""The catalogue shows each fault that a migration can leave behind."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from greenroom.store.tables import metadata
from tests.contract.aged import Place
from tests.contract.catalogue import catalogue

SQLITE, POSTGRESQL = "sqlite", "postgresql"


class Fault(NamedTuple):
    """What is wrong, the statements that plant it in a new database, and the start of the line that it removes."""

    what: str
    database: str
    statements: tuple[str, ...]
    fact: str


def in_text(table: str, old: str, new: str) -> tuple[str, ...]:
    """Statements that change the text of CREATE TABLE in SQLite's catalogue."""
    old, new = (text.replace("'", "''") for text in (old, new))
    return (
        "PRAGMA writable_schema = ON",
        f"UPDATE sqlite_schema SET sql = replace(sql, '{old}', '{new}') WHERE name = '{table}'",
        "PRAGMA writable_schema = RESET",
    )


LOST = ("DROP INDEX ix_sittings_present",)
WHOLE = (*LOST, "CREATE UNIQUE INDEX ix_sittings_present ON sittings (room, role)")
COMMON = ("DROP INDEX ix_sittings_epoch", "CREATE INDEX ix_sittings_epoch ON sittings (room, role, epoch)")
SHUT = (
    "ALTER TABLE rooms DROP CONSTRAINT ck_rooms_status",
    "ALTER TABLE rooms ADD CONSTRAINT ck_rooms_status CHECK (status IN ('open', 'shut'))",
)

FAULTS = (
    Fault("a wrong CHECK", SQLITE, in_text("rooms", "'closed'", "'shut'"), "item of rooms: CONSTRAINT ck_rooms_status"),
    Fault("a wrong CHECK", POSTGRESQL, SHUT, "constraint rooms: ck_rooms_status"),
    Fault(
        "no CHECK",
        SQLITE,
        in_text("tasks", ", \n\tCONSTRAINT ck_tasks_origin CHECK (origin IN ('message', 'backlog'))", ""),
        "item of tasks: CONSTRAINT ck_tasks_origin",
    ),
    Fault(
        "no CHECK",
        POSTGRESQL,
        ("ALTER TABLE tasks DROP CONSTRAINT ck_tasks_origin",),
        "constraint tasks: ck_tasks_origin",
    ),
    Fault("no NOT NULL", SQLITE, in_text("events", "cause TEXT NOT NULL", "cause TEXT"), "column events.cause"),
    Fault("no NOT NULL", POSTGRESQL, ("ALTER TABLE events ALTER cause DROP NOT NULL",), "column events: r, cause"),
    Fault("a default", SQLITE, in_text("tasks", "origin TEXT", "origin TEXT DEFAULT ''"), "column tasks.origin"),
    Fault("a default", POSTGRESQL, ("ALTER TABLE tasks ALTER origin SET DEFAULT ''",), "column tasks: r, origin"),
    Fault("another type", SQLITE, in_text("events", "seq INTEGER", "seq TEXT"), "column events.seq"),
    Fault("another type", POSTGRESQL, ("ALTER TABLE events ALTER seq TYPE integer",), "column events: r, seq"),
    Fault("no UNIQUE", POSTGRESQL, ("ALTER TABLE tasks DROP CONSTRAINT uq_tasks_id",), "constraint tasks: uq_tasks_id"),
    Fault("an index not unique", SQLITE, COMMON, "index sittings.ix_sittings_epoch"),
    Fault("an index not unique", POSTGRESQL, COMMON, "index sittings: ix_sittings_epoch"),
    Fault("an index not partial", SQLITE, WHOLE, "index sittings.ix_sittings_present"),
    Fault("an index not partial", POSTGRESQL, WHOLE, "index sittings: ix_sittings_present"),
    Fault("no index", SQLITE, LOST, "index sittings.ix_sittings_present"),
    Fault("no index", POSTGRESQL, LOST, "index sittings: ix_sittings_present"),
    Fault("unchecked types", SQLITE, in_text("notes", " STRICT", ""), "table notes: strict 1"),
    Fault("no sequence", POSTGRESQL, ("ALTER TABLE notes ALTER num DROP DEFAULT",), "column notes: r, num"),
)


@pytest.mark.parametrize(("empty", "fault"), [(each.database, each) for each in FAULTS], indirect=["empty"],
                         ids=lambda value: value.what if isinstance(value, Fault) else value)  # fmt: skip
def test_a_planted_fault_is_told(empty: Callable[[str], Place], fault: Fault) -> None:
    place = empty("planted")
    place.make(metadata)
    with place.begin() as connection:
        sound = catalogue(connection)

    place.run(fault.statements)

    with place.begin() as connection:
        missing = sound - catalogue(connection)
    assert [fact for fact in missing if fact.startswith(fault.fact)], missing


def test_what_makes_no_difference_is_not_told(empty: Callable[[str], Place]) -> None:
    here, there = empty("here"), empty("there")
    for place in (here, there):
        place.make(metadata)
    there.run(("DROP INDEX ix_tasks_room", "CREATE INDEX  ix_tasks_room\nON tasks (room,  num)"))

    with here.begin() as one, there.begin() as other:
        assert catalogue(one) == catalogue(other)
