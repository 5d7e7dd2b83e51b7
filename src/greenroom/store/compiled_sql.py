"""Compiles SQLAlchemy statements to SQL text, once per statement and database.

The text is run on the driver's cursor, which is several times cheaper than each execution through SQLAlchemy's
Connection.
Limits: values are passed as they are, so columns are TEXT, INTEGER or REAL; what would need SQLAlchemy at each
execution is refused with a TypeError.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Enum, Float, Insert, Integer, String, Table
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.selectable import SelectBase
from sqlalchemy.types import NullType, TypeEngine

upsert: Final = insert
"""INSERT with `on_conflict_do_update` or `on_conflict_do_nothing`. PostgreSQL's construct, because it also compiles
for SQLite."""

PLAIN_TYPES: Final = (String, Integer, Float, NullType)


class Statement:
    """One SELECT, INSERT, UPDATE or DELETE, defined as a constant of the module that needs it.

    Each `bindparam("name")` in it becomes a keyword of `rows`, `row`, `execute` and `execute_deferred`; a plain value
    becomes a constant parameter. Misuse raises TypeError.

    `cached` is for a SELECT of one seldom changed table that many mutations run: the writer caches its rows until it
    writes to that table, which `cached_table` names.
    """

    def __init__(self, clause: SelectBase | UpdateBase, *, cached: bool = False) -> None:
        self._clause = clause.inline() if isinstance(clause, Insert) else clause
        self.cached_table: Final = find_single_table(clause) if cached else None
        self._compiled: dict[str, CompiledStatement] = {}

    def compile_for(self, dialect: Dialect) -> "CompiledStatement":
        """The compiled SQL for a database, compiled at its first use."""
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            # Two threads may both compile it first; the results are equal, so either may stay.
            compiled = self._compiled[dialect.name] = CompiledStatement(self._clause, dialect)
        return compiled


class CompiledStatement:
    """The SQL text of a statement for one database, and the order of its arguments for the driver."""

    __slots__ = ("argument_order", "constant_values", "parameter_names", "returns_rows", "sql", "written_table")

    def __init__(self, clause: SelectBase | UpdateBase, dialect: Dialect) -> None:
        compiled = clause.compile(dialect=dialect)
        assert isinstance(compiled, SQLCompiler)
        required = {bind.key for bind in compiled.binds.values() if bind.required}
        reject_unsupported(clause, compiled)
        # Also expands IN over constant values, one parameter for each; `None` stands for the values that calls pass.
        state = compiled.construct_expanded_state(dict.fromkeys(required))
        self.sql: Final = state.statement
        self.argument_order: Final = tuple(state.positiontup or ())
        self.parameter_names: Final = frozenset(required)
        self.constant_values: Final = {
            name: state.parameters[name] for name in self.argument_order if name not in required
        }
        self.written_table: Final = str(clause.table) if isinstance(clause, UpdateBase) else None
        """The table that the statement writes to; None for a SELECT."""
        self.returns_rows: Final = len(clause.exported_columns) > 0

    def arguments(self, params: Mapping[str, object]) -> list[object]:
        """The parameters in the driver's order. Raises TypeError, which names missing and unknown parameters."""
        if len(params) == len(self.parameter_names):
            values = {**self.constant_values, **params} if self.constant_values else params
            try:
                return [values[name] for name in self.argument_order]
            except KeyError:  # The right number of parameters, but with other names.
                pass
        missing, unknown = sorted(self.parameter_names - params.keys()), sorted(params.keys() - self.parameter_names)
        raise TypeError(
            f"missing parameters {missing}, unknown parameters {unknown}: pass exactly those of {self.sql!r}"
        )


def find_single_table(clause: SelectBase | UpdateBase) -> str:
    """The one table that a SELECT reads. Raises TypeError for anything else, since it cannot be cached by its table."""
    tables = {str(element) for element in visitors.iterate(clause) if isinstance(element, Table)}
    if isinstance(clause, UpdateBase) or len(tables) != 1:
        raise TypeError(f"only a SELECT of one table can be cached: {clause}")
    return tables.pop()


def reject_unsupported(clause: SelectBase | UpdateBase, compiled: SQLCompiler) -> None:
    """Refuse what would need SQLAlchemy at each execution: conversions, defaults made in Python, values in the text.

    Raises TypeError.
    """
    if compiled.literal_execute_params:
        raise TypeError(f"a value would be written into the text of {compiled}: bind it without literal_execute")
    if compiled.insert_prefetch or compiled.update_prefetch:
        raise TypeError(f"a column default would be made in Python for {compiled}: pass the value as a parameter")
    for bind in compiled.binds.values():
        if bind.expanding and bind.required:
            raise TypeError(f"the list {bind.key!r} has no fixed length in {compiled}: use a constant list")
        reject_conversion(bind.type, compiled)
    for column in clause.exported_columns:
        reject_conversion(column.type, compiled)


def reject_conversion(kind: TypeEngine[Any], compiled: SQLCompiler) -> None:
    if not isinstance(kind, PLAIN_TYPES) or isinstance(kind, Enum):
        raise TypeError(
            f"{kind!r} in {compiled} needs a conversion: use TEXT, INTEGER or REAL (a boolean as `case(..., 1, 0)`)"
        )
