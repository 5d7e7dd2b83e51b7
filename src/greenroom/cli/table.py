"""Columns for people. Knows widths; must not know what stands in the cells. On a terminal Rich draws them."""

from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple, TextIO

from greenroom.cli.output import visible


class Table(NamedTuple):
    """A title, the heads of the columns and the cells."""

    title: str
    heads: tuple[str, ...]
    rows: Sequence[Sequence[str]]


def print_table(out: TextIO, table: Table) -> None:
    """Print a table: drawn where a person looks, plain and aligned where a program reads."""
    if out.isatty():
        import_module("greenroom.cli.screen").print_table(out, table)
    else:
        print("\n".join(plain_lines(table)), file=out)


def plain_lines(table: Table) -> list[str]:
    """The table as aligned text."""
    cells = [tuple(table.heads), *(tuple(visible(cell) for cell in row) for row in table.rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [f"{table.title}", *lines] if table.title else lines
