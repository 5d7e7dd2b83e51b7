"""Generates the tables and diagrams of the docs from the code, so that they stay current.

`.venv/bin/python -m tools.pages` regenerates all of them; a test fails while one is out of date. Text between
`<!-- drawn: NAME -->` and `<!-- end -->` is overwritten.
"""

import re
from collections.abc import Callable
from pathlib import Path

from tools.calls import draw_calls
from tools.durations import draw_relations, draw_variables
from tools.machines import (
    draw_joins,
    draw_presence,
    draw_rests,
    draw_statuses,
    draw_supervision,
    draw_tasks,
    draw_verdicts,
)

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("docs/state-machine.md", "docs/operations.md", "docs/protocol.md")
DRAWN = re.compile(r"(?<=<!-- drawn: )(?P<name>[a-z]+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
DRAWINGS: dict[str, Callable[[], str]] = {
    "calls": draw_calls,
    "joins": draw_joins,
    "presence": draw_presence,
    "relations": draw_relations,
    "rests": draw_rests,
    "statuses": draw_statuses,
    "supervision": draw_supervision,
    "tasks": draw_tasks,
    "variables": draw_variables,
    "verdicts": draw_verdicts,
}


def current(text: str) -> str:
    """The page with all its generated parts up to date. Raises KeyError for an unknown name in a marker."""
    return DRAWN.sub(lambda found: f"{found['name']}{found[2]}\n{DRAWINGS[found['name']]()}\n\n", text)


def names_in(text: str) -> list[str]:
    """The names of the generated parts in a page, in order."""
    return [found["name"] for found in DRAWN.finditer(text)]


if __name__ == "__main__":
    for page in PAGES:
        path = ROOT / page
        path.write_text(current(path.read_text("utf-8")), "utf-8")
