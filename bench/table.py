"""The result of a benchmark: figures, what they are compared with, goals; drawn as Markdown tables."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

HEADINGS = ("what", "figure", "beside", "ratio", "goal", "met")


class Goal(msgspec.Struct, frozen=True):
    """A bound for a row's figure, or for its ratio to what it is compared with."""

    sign: Literal[">=", "<="]
    bound: float
    of: Literal["figure", "ratio"] = "figure"


class Comparison(msgspec.Struct, frozen=True):
    """What a figure is compared with, in the same unit and from the same run."""

    label: str
    figure: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table. It shows `figure` alone; `samples` are written by --json."""

    label: str
    figure: float
    unit: str
    comparison: Comparison | None = None
    goal: Goal | None = None
    samples: tuple[float, ...] = ()

    @property
    def ratio(self) -> float | None:
        """The figure divided by what it is compared with; None without a comparison, or where that is 0."""
        if self.comparison is None or self.comparison.figure == 0:
            return None
        return self.figure / self.comparison.figure

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None without a goal, or when a goal for the ratio has no ratio."""
        if self.goal is None:
            return None
        judged = self.figure if self.goal.of == "figure" else self.ratio
        if judged is None:
            return None
        return judged >= self.goal.bound if self.goal.sign == ">=" else judged <= self.goal.bound


class SystemTable(msgspec.Struct, frozen=True):
    """A comparison of systems, one to a line: the first cell names the system, the others are its figures."""

    headings: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        return draw_table(self.headings, self.lines, self.headings[1:])


class BenchmarkResult(msgspec.Struct, frozen=True):
    """What one benchmark measured: rows, notes for the reader, and possibly a comparison of systems."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    systems: SystemTable | None = None


def format_number(number: float) -> str:
    """Format a number with three significant digits: `28,400`, `61.3`, `0.605`."""
    if number == 0:
        return "0"
    magnitude = abs(number)
    if magnitude >= 1000:
        step = 10 ** (len(str(int(magnitude))) - 3)
        return f"{round(number / step) * step:,}"
    places = 0 if magnitude >= 100 else 1 if magnitude >= 10 else 2 if magnitude >= 1 else 3
    return f"{number:.{places}f}"


def format_cells(row: Row) -> tuple[str, ...]:
    """The cells of one row."""
    ratio, goal, is_met = row.ratio, row.goal, row.is_met
    return (
        row.label,
        f"{format_number(row.figure)} {row.unit}",
        f"{format_number(row.comparison.figure)} {row.unit}: {row.comparison.label}"
        if row.comparison is not None
        else "",
        f"{ratio:.2f}" if ratio is not None else "",
        f"{'ratio ' if goal.of == 'ratio' else ''}{goal.sign} {format_number(goal.bound)}" if goal is not None else "",
        "" if is_met is None else "yes" if is_met else "NO",
    )


def draw_rows(rows: Iterable[Row]) -> str:
    """Draw the table of all rows."""
    return draw_table(HEADINGS, [format_cells(row) for row in rows], ("ratio",))


def draw_table(headings: Sequence[str], lines: Sequence[Sequence[str]], right_aligned: Sequence[str]) -> str:
    """A Markdown table that can also be read in a terminal; the columns named in `right_aligned` are right-aligned."""
    widths = [max(map(len, column)) for column in zip(headings, *lines, strict=True)]
    sides = [name in right_aligned for name in headings]
    ruler = ["-" * (width - 1) + (":" if is_right else "-") for width, is_right in zip(widths, sides, strict=True)]
    return "\n".join(format_line(line, widths, sides) for line in (headings, ruler, *lines))


def format_line(line: Sequence[str], widths: Sequence[int], sides: Sequence[bool]) -> str:
    """One line of the table, each cell padded to its column's width."""
    spaced = [
        text.rjust(width) if is_right else text.ljust(width)
        for text, width, is_right in zip(line, widths, sides, strict=True)
    ]
    return f"| {' | '.join(spaced)} |"
