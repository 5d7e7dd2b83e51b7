"""Generates the tables and diagrams of the docs from the code, so that they stay current.

`.venv/bin/python -m tools.pages` regenerates all of them; a test fails while one is out of date. Text between
`<!-- drawn: NAME -->` and `<!-- end -->` is overwritten.
"""

import re
from collections.abc import Callable
from pathlib import Path

from tools.api_calls import draw_calls
from tools.limits import draw_relations, draw_variables
from tools.state_tables import (
    draw_heartbeat_policy,
    draw_joins,
    draw_restart_holds,
    draw_restart_policy,
    draw_statuses,
    draw_tasks,
    draw_verdicts,
)

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("docs/state-machine.md", "docs/operations.md", "docs/protocol.md")
DRAWN = re.compile(r"(?<=<!-- drawn: )(?P<name>[a-z]+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
DRAWINGS: dict[str, Callable[[], str]] = {
    "calls": draw_calls,
    "joins": draw_joins,
    "presence": draw_heartbeat_policy,
    "relations": draw_relations,
    "rests": draw_restart_holds,
    "statuses": draw_statuses,
    "supervision": draw_restart_policy,
    "tasks": draw_tasks,
    "variables": draw_variables,
    "verdicts": draw_verdicts,
}


def redraw(text: str) -> str:
    """The page with all its generated parts up to date. Raises KeyError for an unknown name in a marker."""
    return DRAWN.sub(lambda found: f"{found['name']}{found[2]}\n{DRAWINGS[found['name']]()}\n\n", text)


def list_drawings(text: str) -> list[str]:
    """The names of the generated parts in a page, in order."""
    return [found["name"] for found in DRAWN.finditer(text)]


if __name__ == "__main__":
    for page in PAGES:
        path = ROOT / page
        path.write_text(redraw(path.read_text("utf-8")), "utf-8")
