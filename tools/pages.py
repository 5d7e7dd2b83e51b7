"""Draws what the docs show of the code, so that it cannot grow old. Knows pages and markers; must not know any rule.

`.venv/bin/python -m tools.pages` draws everything anew; a test fails while something is not current. What lies between
`<!-- drawn: NAME -->` and `<!-- end -->` belongs to this script; `docs/state-machine.md` is drawn in the same way.
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
    """The page with everything in it drawn anew."""
    return DRAWN.sub(lambda found: f"{found['name']}{found[2]}\n{DRAWINGS[found['name']]()}\n\n", text)


def names_in(text: str) -> list[str]:
    """The drawings that a page has a place for."""
    return [found["name"] for found in DRAWN.finditer(text)]


if __name__ == "__main__":
    for page in PAGES:
        path = ROOT / page
        path.write_text(current(path.read_text("utf-8")), "utf-8")
