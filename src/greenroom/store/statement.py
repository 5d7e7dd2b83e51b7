"""A statement: written once in SQLAlchemy, spelled once per database. Must not know connections or what it is for.

SQLAlchemy is the spelling here and not the courier: the text it makes goes straight to the driver's cursor, which is
several times cheaper than sending each execution through its Connection.
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
"""INSERT with `on_conflict_do_update` or `_nothing`. PostgreSQL's form, because SQLite can be spelled from it too."""

PLAIN: Final = (String, Integer, Float, NullType)


class Statement:
    """One SELECT, INSERT, UPDATE or DELETE, kept as a constant of the module that needs it.

    Each `bindparam("name")` in it becomes a keyword of `rows`, `row` and `change`; a plain value in it becomes a
    parameter that brings its own value. Misuse is a TypeError.

    `kept` is for a SELECT that is asked in many mutations, of one table that seldom changes: the writer remembers what
    it was answered until it writes to that table, which `kept_of` names.
    """

    def __init__(self, clause: SelectBase | UpdateBase, *, kept: bool = False) -> None:
        self._clause = clause.inline() if isinstance(clause, Insert) else clause
        self.kept_of: Final = only_table_of(clause) if kept else None
        self._spellings: dict[str, Spelling] = {}

    def spelled(self, dialect: Dialect) -> "Spelling":
        """The spelling for a database, made at its first use."""
        spelling = self._spellings.get(dialect.name)
        if spelling is None:
            # Two threads may both come here first; they make equal spellings, so either may stay.
            spelling = self._spellings[dialect.name] = Spelling(self._clause, dialect)
        return spelling


class Spelling:
    """The text of a statement for one database, and the order in which the driver wants its arguments."""

    __slots__ = ("constants", "names", "order", "returns_rows", "sql", "written")

    def __init__(self, clause: SelectBase | UpdateBase, dialect: Dialect) -> None:
        compiled = clause.compile(dialect=dialect)
        assert isinstance(compiled, SQLCompiler)
        given = {bind.key for bind in compiled.binds.values() if bind.required}
        refuse_surprises(clause, compiled)
        # Also writes out IN over constant values, one parameter for each; `None` stands in for what calls will bring.
        state = compiled.construct_expanded_state(dict.fromkeys(given))
        self.sql: Final = state.statement
        self.order: Final = tuple(state.positiontup or ())
        self.names: Final = frozenset(given)
        self.constants: Final = {name: state.parameters[name] for name in self.order if name not in given}
        self.written: Final = str(clause.table) if isinstance(clause, UpdateBase) else None
        """The table that is written to."""
        self.returns_rows: Final = len(clause.exported_columns) > 0

    def arguments(self, params: Mapping[str, object]) -> list[object]:
        """Bring the parameters into the driver's order. TypeError names those that are missing or unknown."""
        if len(params) == len(self.names):
            values = {**self.constants, **params} if self.constants else params
            try:
                return [values[name] for name in self.order]
            except KeyError:  # As many as there should be, and yet others.
                pass
        missing, unknown = sorted(self.names - params.keys()), sorted(params.keys() - self.names)
        raise TypeError(
            f"missing parameters {missing}, unknown parameters {unknown}: give exactly those of {self.sql!r}"
        )


def only_table_of(clause: SelectBase | UpdateBase) -> str:
    """The one table that a SELECT reads. TypeError for what cannot be remembered by its table."""
    named = {str(element) for element in visitors.iterate(clause) if isinstance(element, Table)}
    if isinstance(clause, UpdateBase) or len(named) != 1:
        raise TypeError(f"only a SELECT of one table can be kept: {clause}")
    return named.pop()


def refuse_surprises(clause: SelectBase | UpdateBase, compiled: SQLCompiler) -> None:
    """Refuse what would need SQLAlchemy at each execution: conversions, defaults made in Python, values in the text."""
    if compiled.literal_execute_params:
        raise TypeError(f"a value would be written into the text of {compiled}: bind it without literal_execute")
    if compiled.insert_prefetch or compiled.update_prefetch:
        raise TypeError(
            f"a column default would have to be made in Python for {compiled}: pass the value as a parameter"
        )
    for bind in compiled.binds.values():
        if bind.expanding and bind.required:
            raise TypeError(
                f"the list {bind.key!r} has no fixed length in {compiled}: only constant lists can be spelled once"
            )
        refuse_conversion(bind.type, compiled)
    for column in clause.exported_columns:
        refuse_conversion(column.type, compiled)


def refuse_conversion(kind: TypeEngine[Any], compiled: SQLCompiler) -> None:
    if not isinstance(kind, PLAIN) or isinstance(kind, Enum):
        raise TypeError(
            f"{kind!r} in {compiled} needs a conversion: use TEXT, INTEGER or REAL (a truth as `case(..., 1, 0)`)"
        )
