"""Statements are compiled once for each database, and misuse is rejected when they are compiled."""

import importlib
import pkgutil
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    case,
    delete,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Dialect

from greenroom import store
from greenroom.clock import MovedClock
from greenroom.store.migrating import revisions
from greenroom.store.postgres.engine import DIALECT as POSTGRESQL
from greenroom.store.sqlite import DIALECT
from greenroom.store.statement import Statement, upsert
from greenroom.store.store import Store
from greenroom.store.tables import NOUNS, metadata
from tests.contract.things import things


def spell(clause: Any, dialect: Dialect = DIALECT, **params: object) -> tuple[str, list[object]]:
    """The SQL text on one line, and its arguments."""
    spelling = Statement(clause).spelled(dialect)
    return " ".join(spelling.sql.split()), spelling.arguments(params)


def test_parameters_come_in_the_order_of_the_text() -> None:
    clause = select(things.c.name).where(
        things.c.size > bindparam("least"), or_(things.c.name == bindparam("a"), things.c.size == bindparam("least"))
    )
    sql, arguments = spell(clause, a="x", least=3)
    assert sql.endswith("WHERE things.size > ? AND (things.name = ? OR things.size = ?)")
    assert arguments == [3, "x", 3]


def test_constants_are_parameters_that_bring_their_values() -> None:
    clause = update(things).where(things.c.name.in_(["x", "y"]), things.c.size > 5).values(size=bindparam("to"))
    sql, arguments = spell(clause, to=7)
    assert sql == "UPDATE things SET size=? WHERE things.name IN (?, ?) AND things.size > ?"
    assert arguments == [7, "x", "y", 5]


def test_the_other_database_differs_in_spelling_only() -> None:
    clause = upsert(things).values(name=bindparam("thing"), size=1)
    clause = clause.on_conflict_do_update(index_elements=[things.c.name], set_={"size": clause.excluded.size})
    expected = "INSERT INTO things (name, size) VALUES ({}, {}) ON CONFLICT (name) DO UPDATE SET size = excluded.size"
    assert spell(clause, thing="x") == (expected.format("?", "?"), ["x", 1])
    assert spell(clause, POSTGRESQL, thing="x") == (expected.format('$1::VARCHAR COLLATE "C"', "$2::BIGINT"), ["x", 1])


def test_a_percent_sign_survives_the_other_parameter_style() -> None:
    clause = select(things.c.size % 2).where(things.c.name.like("a%"))
    assert "things.size % ?" in spell(clause)[0]
    assert "things.size % $1::BIGINT" in spell(clause, POSTGRESQL)[0]


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.__name__.rpartition(".")[2])
def test_every_statement_can_be_spelled_for_both_databases(noun: ModuleType) -> None:
    statements = {name: value for name, value in vars(noun).items() if isinstance(value, Statement)}
    assert statements
    for name, statement in statements.items():
        assert statement.spelled(POSTGRESQL).names == statement.spelled(DIALECT).names, name


def test_every_table_is_gathered() -> None:
    names = [module.name for module in pkgutil.iter_modules(store.__path__)]
    modules = [importlib.import_module(f"{store.__name__}.{name}") for name in names]
    declaring = {
        module.__name__
        for module in modules
        if any(isinstance(value, type) and value.__module__ == module.__name__ for value in vars(module).values())
        and any(isinstance(value, Table) for value in vars(module).values())
    }
    assert declaring == {noun.__name__ for noun in NOUNS}
    assert all(table.dialect_options["sqlite"]["strict"] for table in metadata.sorted_tables)


def test_the_tables_can_be_made_and_are_strict() -> None:
    opened = Store.open_memory(MovedClock())
    with opened._engine.reading() as cursor:
        cursor.execute("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND strict")
        made = {name for (name,) in cursor.fetchall()}
    opened.close()
    assert made == {*metadata.tables, revisions.name}


def test_a_spelling_is_made_once() -> None:
    statement = Statement(select(things.c.name))
    assert statement.spelled(DIALECT) is statement.spelled(DIALECT)
    assert statement.spelled(DIALECT) is not statement.spelled(POSTGRESQL)


def test_an_insert_asks_for_nothing_back_unless_told() -> None:
    numbered = Table("numbered", MetaData(), Column("id", Integer, primary_key=True), Column("size", Integer))
    assert "RETURNING" not in spell(insert(numbered).values(size=bindparam("size")), POSTGRESQL, size=1)[0]


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({}, r"missing parameters \['thing'\], unknown parameters \[\]"),
        ({"thing": 1, "size": 2}, r"missing parameters \[\], unknown parameters \['size'\]"),
        ({"things": 1}, r"missing parameters \['thing'\], unknown parameters \['things'\]"),
    ],
)
def test_missing_and_unknown_parameters_are_named(params: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        spell(delete(things).where(things.c.name == bindparam("thing")), **params)


flags = Table("flags", MetaData(), Column("on", Boolean))
counts = Table("counts", MetaData(), Column("size", Integer, default=lambda: 3), Column("name", String))


@pytest.mark.parametrize(
    ("clause", "says"),
    [
        (select(flags.c.on), "needs a conversion"),
        (update(flags).values(on=bindparam("on")), "needs a conversion"),
        (insert(counts).values(name="x"), "made in Python"),
        (select(things.c.name).where(things.c.name.in_(bindparam("many", expanding=True))), "no fixed length"),
        (select(literal("x", literal_execute=True)), "into the text"),
    ],
)
def test_what_would_surprise_is_refused(clause: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        spell(clause)


def test_a_truth_is_a_number() -> None:
    assert spell(select(case((things.c.size > 1, 1), else_=0)))[1] == [1, 1, 0]
