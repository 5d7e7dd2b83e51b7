"""How rows become records and back. Knows msgspec structs and column order; must not know any table."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Table, bindparam

from greenroom.store.transaction import Row

Record = TypeVar("Record", bound=msgspec.Struct)


def read_as(kind: type[Record], columns: Iterable[str]) -> Callable[[Row], Record]:
    """Make the function that reads a row whose columns are those fields of `kind`, in that order."""
    names = tuple(columns)

    def read(row: Row) -> Record:
        # Not `strict`, which takes half as long again: the statement was made from the same names.
        return kind(**dict(zip(names, row)))  # noqa: B905

    return read


def fields_of(record: msgspec.Struct, names: Iterable[str]) -> dict[str, Any]:
    """The parameters that write those fields of a record."""
    return {name: getattr(record, name) for name in names}


def binds(table: Table, names: Iterable[str]) -> dict[str, Any]:
    """A parameter for each of those columns, for `values(...)`."""
    return {name: bindparam(name, type_=table.c[name].type) for name in names}
