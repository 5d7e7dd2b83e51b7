"""Converts rows to records (msgspec structs) and records to statement parameters, and resolves the cursor of a list.

A cursor is the id of an item; it resolves to the row number after which the next page begins.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Table, bindparam

from greenroom.domain.errors import Unusable
from greenroom.store.compiled_sql import Statement
from greenroom.store.transaction import Reader, Row

Record = TypeVar("Record", bound=msgspec.Struct)


def row_decoder(kind: type[Record], columns: Iterable[str]) -> Callable[[Row], Record]:
    """Make a function that converts a row to a `kind`; the row has these fields as its columns, in this order."""
    names = tuple(columns)

    def read(row: Row) -> Record:
        # Without `strict`, which takes 1.5 times as long: the statement was made from the same names.
        return kind(**dict(zip(names, row)))  # noqa: B905

    return read


def encode_fields(record: msgspec.Struct, names: Iterable[str]) -> dict[str, Any]:
    """The parameters that write these fields of a record."""
    return {name: getattr(record, name) for name in names}


def bind_columns(table: Table, names: Iterable[str]) -> dict[str, Any]:
    """A bind parameter for each of these columns, for `values(...)`."""
    return {name: bindparam(name, type_=table.c[name].type) for name in names}


def resolve_cursor(reader: Reader, row_number_query: Statement, after: str | None, **where: object) -> int:
    """The row number after which a page begins: that of the item `after`, or 0, which is before the first.

    Raises Unusable for an unknown item: a client that got the first page instead would page without end.
    """
    if after is None:
        return 0
    row = reader.row(row_number_query, **where)
    if row is None:
        raise Unusable(
            f"This list has no item {after[:80]!r}.",
            "Send in `after` the id of the last item of the previous page, or omit it to get the first page.",
        )
    return int(row[0])
