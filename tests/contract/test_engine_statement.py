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
from greenroom.store.compiled_sql import Statement, upsert
from greenroom.store.migrations.runner import revisions
from greenroom.store.postgres.engine import DIALECT as POSTGRESQL
from greenroom.store.sqlite import DIALECT
from greenroom.store.store import Store
from greenroom.store.tables import TABLE_MODULES, metadata
from greenroom.testing import MovedClock
from tests.contract.things_table import things


def compile_statement(clause: Any, dialect: Dialect = DIALECT, **params: object) -> tuple[str, list[object]]:
    """The SQL text on one line, and its arguments."""
    compiled = Statement(clause).compile_for(dialect)
    return " ".join(compiled.sql.split()), compiled.arguments(params)


def test_parameter_order() -> None:
    clause = select(things.c.name).where(
        things.c.size > bindparam("least"), or_(things.c.name == bindparam("a"), things.c.size == bindparam("least"))
    )
    sql, arguments = compile_statement(clause, a="x", least=3)
    assert sql.endswith("WHERE things.size > ? AND (things.name = ? OR things.size = ?)")
    assert arguments == [3, "x", 3]


def test_constants_become_parameters() -> None:
    clause = update(things).where(things.c.name.in_(["x", "y"]), things.c.size > 5).values(size=bindparam("to"))
    sql, arguments = compile_statement(clause, to=7)
    assert sql == "UPDATE things SET size=? WHERE things.name IN (?, ?) AND things.size > ?"
    assert arguments == [7, "x", "y", 5]


def test_dialects_differ_in_syntax_only() -> None:
    clause = upsert(things).values(name=bindparam("thing"), size=1)
    clause = clause.on_conflict_do_update(index_elements=[things.c.name], set_={"size": clause.excluded.size})
    expected = "INSERT INTO things (name, size) VALUES ({}, {}) ON CONFLICT (name) DO UPDATE SET size = excluded.size"
    assert compile_statement(clause, thing="x") == (expected.format("?", "?"), ["x", 1])
    assert compile_statement(clause, POSTGRESQL, thing="x") == (
        expected.format('$1::VARCHAR COLLATE "C"', "$2::BIGINT"),
        ["x", 1],
    )


def test_percent_sign_is_kept() -> None:
    clause = select(things.c.size % 2).where(things.c.name.like("a%"))
    assert "things.size % ?" in compile_statement(clause)[0]
    assert "things.size % $1::BIGINT" in compile_statement(clause, POSTGRESQL)[0]


@pytest.mark.parametrize("module", TABLE_MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_all_statements_compile_for_both_databases(module: ModuleType) -> None:
    statements = {name: value for name, value in vars(module).items() if isinstance(value, Statement)}
    assert statements
    for name, statement in statements.items():
        assert statement.compile_for(POSTGRESQL).parameter_names == statement.compile_for(DIALECT).parameter_names, name


def test_all_tables_are_collected() -> None:
    names = [module.name for module in pkgutil.iter_modules(store.__path__)]
    modules = [importlib.import_module(f"{store.__name__}.{name}") for name in names]
    declaring = {
        module.__name__
        for module in modules
        if any(isinstance(value, type) and value.__module__ == module.__name__ for value in vars(module).values())
        and any(isinstance(value, Table) for value in vars(module).values())
    }
    assert declaring == {module.__name__ for module in TABLE_MODULES}
    assert all(table.dialect_options["sqlite"]["strict"] for table in metadata.sorted_tables)


def test_tables_are_created_strict() -> None:
    opened = Store.open_memory(MovedClock())
    with opened._engine.read_transaction() as cursor:
        cursor.execute("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND strict")
        made = {name for (name,) in cursor.fetchall()}
    opened.close()
    assert made == {*metadata.tables, revisions.name}


def test_statement_is_compiled_once() -> None:
    statement = Statement(select(things.c.name))
    assert statement.compile_for(DIALECT) is statement.compile_for(DIALECT)
    assert statement.compile_for(DIALECT) is not statement.compile_for(POSTGRESQL)


def test_insert_has_no_returning_by_default() -> None:
    numbered = Table("numbered", MetaData(), Column("id", Integer, primary_key=True), Column("size", Integer))
    assert "RETURNING" not in compile_statement(insert(numbered).values(size=bindparam("size")), POSTGRESQL, size=1)[0]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, r"missing parameters \['thing'\], unknown parameters \[\]"),
        ({"thing": 1, "size": 2}, r"missing parameters \[\], unknown parameters \['size'\]"),
        ({"things": 1}, r"missing parameters \['thing'\], unknown parameters \['things'\]"),
    ],
)
def test_missing_and_unknown_parameters_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        compile_statement(delete(things).where(things.c.name == bindparam("thing")), **params)


flags = Table("flags", MetaData(), Column("on", Boolean))
counts = Table("counts", MetaData(), Column("size", Integer, default=lambda: 3), Column("name", String))


@pytest.mark.parametrize(
    ("clause", "message"),
    [
        (select(flags.c.on), "needs a conversion"),
        (update(flags).values(on=bindparam("on")), "needs a conversion"),
        (insert(counts).values(name="x"), "made in Python"),
        (select(things.c.name).where(things.c.name.in_(bindparam("many", expanding=True))), "no fixed length"),
        (select(literal("x", literal_execute=True)), "into the text"),
    ],
)
def test_unsupported_constructs_are_rejected(clause: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        compile_statement(clause)


def test_case_constants_are_numbers() -> None:
    assert compile_statement(select(case((things.c.size > 1, 1), else_=0)))[1] == [1, 1, 0]
