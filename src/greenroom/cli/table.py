"""Prints tables: as aligned text, or on a terminal drawn by Rich (see `screen`)."""

from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple, TextIO

from greenroom.cli.terminal import escape_control

GAP = 2
"""Characters between two columns."""


class Table(NamedTuple):
    """A title, the heads of the columns and the cells.

    `optional_columns` names the columns that a narrow terminal leaves out, the least important first.
    """

    title: str
    headers: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    optional_columns: tuple[str, ...] = ()


def print_table(out: TextIO, table: Table) -> None:
    """Print a table: drawn by Rich on a terminal, as aligned text elsewhere."""
    if out.isatty():
        import_module("greenroom.cli.live_screen").print_table(out, table)
    else:
        print("\n".join(plain_lines(table)), file=out)


def plain_lines(table: Table) -> list[str]:
    """The lines of a table as aligned text."""
    cells = [tuple(table.headers), *(tuple(escape_control(cell) for cell in row) for row in table.rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.headers))]
    gap = " " * GAP
    lines = [gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [f"{table.title}", *lines] if table.title else lines


def fit_table(table: Table, width: int) -> Table:
    """The table without as many of its spare columns as are needed to fit into `width` characters."""
    for head in table.optional_columns:
        if table_width(table) <= width:
            break
        table = without_column(table, head)
    return table


def table_width(table: Table) -> int:
    """The width of the table in characters if no cell is wrapped."""
    cells = [table.headers, *table.rows]
    return sum(max(len(row[column]) for row in cells) + GAP for column in range(len(table.headers))) - GAP


def without_column(table: Table, head: str) -> Table:
    """The table without one of its columns."""
    column = table.headers.index(head)
    rows = [(*row[:column], *row[column + 1 :]) for row in table.rows]
    return table._replace(headers=(*table.headers[:column], *table.headers[column + 1 :]), rows=rows)
