"""Reads the journal that the agents of `scripted_agent.py` write, and opens the gates for which they wait."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.waiting import wait_until


class AgentJournal:
    """The journal in a folder. Lines are in the order of writing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def lines(self, kind: str | None = None, **fields: object) -> list[dict[str, Any]]:
        path = self._folder / "journal"
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in found if kind in (None, line["kind"]) and fields.items() <= line.items()]

    def wait_for(self, kind: str, **fields: object) -> dict[str, Any]:
        """Wait for a line of that kind and return the first one."""
        return wait_until(lambda: self.lines(kind, **fields), f"a line in the journal: {kind} {fields or ''}")[0]

    def open_gate(self, name: str) -> None:
        """Let agents that `hold:` that name continue."""
        (self._folder / name).touch()

    def attempts(self, kind: str, task: str) -> list[int]:
        return [line["attempt"] for line in self.lines(kind, task=task)]

    def runs_one_at_a_time(self, role: str) -> bool:
        """Return whether each run of a role began after the one before it had ended."""
        kinds = [line["kind"] for line in self.lines(role=role) if line["kind"] in ("begins", "ends", "fails")]
        return all(kind == "begins" for kind in kinds[::2]) and all(kind != "begins" for kind in kinds[1::2])
