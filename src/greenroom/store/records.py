"""Converts rows to records (msgspec structs) and records to statement parameters."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Table, bindparam

from greenroom.store.transaction import Row

Record = TypeVar("Record", bound=msgspec.Struct)


def read_as(kind: type[Record], columns: Iterable[str]) -> Callable[[Row], Record]:
    """Make a function that converts a row to a `kind`; the row has these fields as its columns, in this order."""
    names = tuple(columns)

    def read(row: Row) -> Record:
        # Without `strict`, which takes 1.5 times as long: the statement was made from the same names.
        return kind(**dict(zip(names, row)))  # noqa: B905

    return read


def fields_of(record: msgspec.Struct, names: Iterable[str]) -> dict[str, Any]:
    """The parameters that write these fields of a record."""
    return {name: getattr(record, name) for name in names}


def binds(table: Table, names: Iterable[str]) -> dict[str, Any]:
    """A bind parameter for each of these columns, for `values(...)`."""
    return {name: bindparam(name, type_=table.c[name].type) for name in names}
