"""Reads the journal that the agents of `hand.py` write, and opens the gates for which they wait."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.waiting import wait_until


class Journal:
    """The journal in a folder. Lines are in the order of writing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def lines(self, what: str | None = None, **told: object) -> list[dict[str, Any]]:
        path = self._folder / "journal"
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in found if what in (None, line["what"]) and told.items() <= line.items()]

    def wait_for(self, what: str, **told: object) -> dict[str, Any]:
        """Wait for a line of that kind and return the first one."""
        return wait_until(lambda: self.lines(what, **told), f"a line in the journal: {what} {told or ''}")[0]

    def open_gate(self, name: str) -> None:
        """Let agents that `hold:` that name continue."""
        (self._folder / name).touch()

    def attempts(self, what: str, task: str) -> list[int]:
        return [line["attempt"] for line in self.lines(what, task=task)]

    def is_one_at_a_time(self, role: str) -> bool:
        """Return whether each run of a role began after the one before it had ended."""
        told = [line["what"] for line in self.lines(role=role) if line["what"] in ("begins", "ends", "fails")]
        return all(what == "begins" for what in told[::2]) and all(what != "begins" for what in told[1::2])
