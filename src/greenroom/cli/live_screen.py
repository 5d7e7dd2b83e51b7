"""Draws tables on a terminal with Rich.

Imported by name, and only if the output is a terminal: importing Rich takes longer than the rest of a verb.
"""

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text

from greenroom.cli.display_text import escape_cell, escape_control
from greenroom.cli.standard_streams import drawable
from greenroom.cli.table import GAP, Table, block_lines, column_widths, fit_table, wrap_cell

COLOURS = {
    "ok": "green",
    "waiting": "green",
    "connected": "green",
    "completed": "green",
    "working": "cyan",
    "acknowledged": "cyan",
    "in_progress": "cyan",
    "starting": "yellow",
    "stopping": "yellow",
    "backing_off": "yellow",
    "crash_looping": "red",
    "paused": "magenta",
    "unknown": "yellow",
    "not": "red",
    "offline": "red",
    "quarantined": "red",
    "pending_review": "magenta",
    "vacant": "magenta",
    "stopped": "magenta",
}


def print_table(out: TextIO, table: Table) -> None:
    console = Console(file=drawable(out))
    console.print(render_table(table, console.width))


def live_screen(out: TextIO) -> Live:
    """A full screen that is redrawn on `update(..., refresh=True)`; the terminal is restored at the end."""
    return Live(console=Console(file=drawable(out)), screen=True, auto_refresh=False, vertical_overflow="ellipsis")


def render_screen(headlines: Sequence[str], is_ok: bool, tables: Sequence[Table], width: int) -> RenderableType:
    """Headlines above tables, for a screen `width` characters wide."""
    header = Text(escape_control("\n".join(headlines)), style="bold green" if is_ok else "bold red")
    return Group(header, *(part for table in tables for part in (Text(), render_table(table, width))))


def render_table(table: Table, width: int) -> RenderableType:
    """Convert a table for Rich. Cells are plain text: texts of agents are never read as markup."""
    table = fit_table(escape_table(table), width)
    widths = column_widths(table, width)
    if widths is None:
        return render_blocks(table, width)
    rich = RichTable(
        title=table.title or None,
        title_justify="left",
        title_style="bold",
        box=None,
        padding=(0, GAP, 0, 0),
        pad_edge=False,
    )
    for head, column_width in zip(table.headers, widths, strict=True):
        rich.add_column(head, header_style="dim", overflow="fold", width=column_width)
    for row in table.rows:
        cells = zip(row, widths, strict=True)
        rich.add_row(*(Text("\n".join(wrap_cell(cell, most)), style=cell_colour(cell)) for cell, most in cells))
    return rich


def render_blocks(table: Table, width: int) -> RenderableType:
    """A table as one block of lines for each row: the first cell, and below it the others, each after its head."""
    lines = [Text(table.title, style="bold")] if table.title else []
    for head, cell in block_lines(table):
        if head == table.headers[0]:
            lines.append(Text(cell, style="bold"))
        else:
            label = f"  {head} "
            value = f"\n{' ' * len(label)}".join(wrap_cell(cell, width - len(label)))
            lines.append(Text.assemble((label, "dim"), (value, cell_colour(cell))))
    return Group(*lines)


def escape_table(table: Table) -> Table:
    rows = [tuple(map(escape_cell, row)) for row in table.rows]
    return table._replace(title=escape_cell(table.title), rows=rows)


def cell_colour(cell: str) -> str:
    """The colour of a cell that starts with a status; red for any status that is late."""
    word = cell.partition(" ")[0].rstrip(",")
    return "red" if word in COLOURS and ", late by " in cell else COLOURS.get(word, "")
