"""What a benchmark says: figures, what stands beside them, whether a goal is met. Must not know how it was measured."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

HEADINGS = ("what", "figure", "beside", "ratio", "goal", "met")


class Goal(msgspec.Struct, frozen=True):
    """A bound for a row's figure, or for its ratio to what stands beside it."""

    sign: Literal[">=", "<="]
    bound: float
    of: Literal["figure", "ratio"] = "figure"


class Beside(msgspec.Struct, frozen=True):
    """What a figure is compared with, in the same unit and from the same run."""

    what: str
    figure: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line. `samples` are kept for whoever wants to look closer; the table shows `figure` alone."""

    what: str
    figure: float
    unit: str
    beside: Beside | None = None
    goal: Goal | None = None
    samples: tuple[float, ...] = ()

    @property
    def ratio(self) -> float | None:
        """The figure over what stands beside it; None where nothing does."""
        if self.beside is None or self.beside.figure == 0:
            return None
        return self.figure / self.beside.figure

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None where there is no goal, or nothing to judge it by."""
        if self.goal is None:
            return None
        judged = self.figure if self.goal.of == "figure" else self.ratio
        if judged is None:
            return None
        return judged >= self.goal.bound if self.goal.sign == ">=" else judged <= self.goal.bound


class Grid(msgspec.Struct, frozen=True):
    """Several systems beside each other, one to a line: the first cell names it, the others are its figures."""

    headings: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        return drawn(self.headings, self.lines, self.headings[1:])


class Piece(msgspec.Struct, frozen=True):
    """What one benchmark measured, and what a reader has to know beside the figures."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    grid: Grid | None = None


def spell(number: float) -> str:
    """Three digits that count, as a person writes them: `28,400`, `61.3`, `0.605`."""
    if number == 0:
        return "0"
    magnitude = abs(number)
    if magnitude >= 1000:
        step = 10 ** (len(str(int(magnitude))) - 3)
        return f"{round(number / step) * step:,}"
    places = 0 if magnitude >= 100 else 1 if magnitude >= 10 else 2 if magnitude >= 1 else 3
    return f"{number:.{places}f}"


def cells(row: Row) -> tuple[str, ...]:
    """One line of the table."""
    ratio, goal, is_met = row.ratio, row.goal, row.is_met
    return (
        row.what,
        f"{spell(row.figure)} {row.unit}",
        f"{spell(row.beside.figure)} {row.unit}: {row.beside.what}" if row.beside is not None else "",
        f"{ratio:.2f}" if ratio is not None else "",
        f"{'ratio ' if goal.of == 'ratio' else ''}{goal.sign} {spell(goal.bound)}" if goal is not None else "",
        "" if is_met is None else "yes" if is_met else "NO",
    )


def draw(rows: Iterable[Row]) -> str:
    """The table of all rows."""
    return drawn(HEADINGS, [cells(row) for row in rows], ("ratio",))


def drawn(headings: Sequence[str], lines: Sequence[Sequence[str]], right: Sequence[str]) -> str:
    """A table as Markdown that can also be read in a terminal; the columns named in `right` are set to the right."""
    widths = [max(map(len, column)) for column in zip(headings, *lines, strict=True)]
    sides = [name in right for name in headings]
    ruler = ["-" * (width - 1) + (":" if is_right else "-") for width, is_right in zip(widths, sides, strict=True)]
    return "\n".join(fitted(line, widths, sides) for line in (headings, ruler, *lines))


def fitted(line: Sequence[str], widths: Sequence[int], sides: Sequence[bool]) -> str:
    """A line with every cell as wide as its column."""
    spaced = [
        text.rjust(width) if is_right else text.ljust(width)
        for text, width, is_right in zip(line, widths, sides, strict=True)
    ]
    return f"| {' | '.join(spaced)} |"
