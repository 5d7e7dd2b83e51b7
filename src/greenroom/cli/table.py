"""Prints tables: as aligned text, or on a terminal drawn by Rich (see `live_screen`).

A terminal that is too narrow for a table gets it without its optional columns, then with wrapped cells, and where a
cell would have to be broken inside a word, as one block of lines for each row.
"""

import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import NamedTuple, TextIO

from greenroom.cli.display_text import escape_cell, pad_text, text_width

GAP = 2
"""Spaces between two columns of a table. All widths are terminal columns, see `display_text`."""
WORD = re.compile(r"\s*(?:[^\s/]+/?|/)")
"""What a cell is broken into: words, and the parts of a path."""
STATUS_HEAD = "STATUS"
"""The column that is not wrapped unless it takes half of the width, so that a countdown stays beside its status."""


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
    cells = [tuple(table.headers), *(tuple(map(escape_cell, row)) for row in table.rows)]
    widths = [max(map(text_width, column)) for column in zip(*cells, strict=True)]
    gap = " " * GAP
    lines = [gap.join(map(pad_text, row, widths)).rstrip() for row in cells]
    return [f"{table.title}", *lines] if table.title else lines


def fit_table(table: Table, width: int) -> Table:
    """The table without as many of its optional columns as are needed to fit into `width`."""
    for head in table.optional_columns:
        if table_width(table) <= width:
            break
        table = without_column(table, head)
    return table


def table_width(table: Table) -> int:
    """The width of the table if no cell is wrapped."""
    return sum(max(map(text_width, column)) + GAP for column in columns(table)) - GAP


def column_widths(table: Table, width: int) -> list[int] | None:
    """The widths of the columns in a table of at most `width`; None if a word would have to be broken.

    The widest columns are narrowed first.
    """
    natural = [max(map(text_width, column)) for column in columns(table)]
    narrowest = [max(map(longest_word, column)) for column in columns(table)]
    if STATUS_HEAD in table.headers:
        column = table.headers.index(STATUS_HEAD)
        if 2 * natural[column] <= width:
            narrowest[column] = natural[column]
    available = width - GAP * (len(table.headers) - 1)
    if sum(narrowest) > available:
        return None
    limit = max(natural)
    while (
        sum(widths := [max(least, min(most, limit)) for least, most in zip(narrowest, natural, strict=True)])
        > available
    ):
        limit -= 1
    return widths


def columns(table: Table) -> Iterator[tuple[str, ...]]:
    """The columns of a table, each with its head first."""
    return zip(table.headers, *table.rows, strict=True)


def longest_word(cell: str) -> int:
    """The width of the longest piece of a cell that must not be broken."""
    return max((text_width(word.strip()) for word in WORD.findall(cell)), default=0)


def wrap_cell(cell: str, width: int) -> list[str]:
    """The lines of a cell in a column of that width. A word that is longer has a line of its own."""
    lines = [""]
    for word in WORD.findall(cell):
        if not lines[-1]:
            lines[-1] = word.lstrip()
        elif text_width(lines[-1]) + text_width(word) <= width:
            lines[-1] += word
        else:
            lines.append(word.lstrip())
    return lines


def block_lines(table: Table) -> Iterator[tuple[str, str]]:
    """The rows of a table as blocks: pairs of a head and its cell. Empty cells after the first are left out."""
    for row in table.rows:
        for column, (head, cell) in enumerate(zip(table.headers, row, strict=True)):
            if column == 0 or cell not in ("", "-"):
                yield head, cell


def without_column(table: Table, head: str) -> Table:
    """The table without one of its columns."""
    column = table.headers.index(head)
    rows = [(*row[:column], *row[column + 1 :]) for row in table.rows]
    return table._replace(headers=(*table.headers[:column], *table.headers[column + 1 :]), rows=rows)
