"""Draws tables on a terminal with Rich.

Imported by name, and only if the output is a terminal: importing Rich takes longer than the rest of a verb.
"""

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text

from greenroom.cli.table import GAP, Table, fit_table
from greenroom.cli.terminal import escape_control

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

STATUS_HEAD = "STATUS"
"""The column that is not wrapped if it fits, so that a countdown stays on the line of its status."""


def print_table(out: TextIO, table: Table) -> None:
    console = Console(file=out)
    console.print(render_table(table, console.width))


def live_screen(out: TextIO) -> Live:
    """A full screen that is redrawn on `update(..., refresh=True)`; the terminal is restored at the end."""
    return Live(console=Console(file=out), screen=True, auto_refresh=False, vertical_overflow="ellipsis")


def render_screen(headlines: Sequence[str], is_ok: bool, tables: Sequence[Table], width: int) -> RenderableType:
    """Headlines above tables, for a screen `width` characters wide."""
    header = Text(escape_control("\n".join(headlines)), style="bold green" if is_ok else "bold red")
    return Group(header, *(part for table in tables for part in (Text(), render_table(table, width))))


def render_table(table: Table, width: int) -> RichTable:
    """Convert a table for Rich. Cells are plain text: texts of agents are never read as markup."""
    table = fit_table(table, width)
    rich = RichTable(
        title=escape_control(table.title) or None,
        title_justify="left",
        title_style="bold",
        box=None,
        padding=(0, GAP, 0, 0),
    )
    for column, head in enumerate(table.headers):
        # A column wider than half of the screen would leave the others too little, or hide them on a narrow one.
        is_whole = head == STATUS_HEAD and 2 * max((len(row[column]) for row in table.rows), default=0) <= width
        rich.add_column(head, header_style="dim", overflow="fold", no_wrap=is_whole)
    for row in table.rows:
        rich.add_row(*(Text(escape_control(cell), style=cell_colour(cell)) for cell in row))
    return rich


def cell_colour(cell: str) -> str:
    """The colour of a cell that starts with a status; red for any status that is late."""
    word = cell.partition(" ")[0].rstrip(",")
    return "red" if word in COLOURS and ", late by " in cell else COLOURS.get(word, "")
