"""Reads the diaries that the agents of `diary_agent.py` write: which run was alive from when to when."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from tests.waiting import wait_until

WHOLE = "}\n"


class AgentRun(NamedTuple):
    """One process of one attempt. Instants are seconds of the wall clock; `last_at` is when it was last seen alive."""

    task: str
    attempt: int
    machine: str
    role: str
    connection: str
    pid: int
    began_at: float
    last_at: float
    end: str | None = None
    """How it ended by itself: `ends` or `fails`; None if it was killed, or still runs."""
    notes: str = ""

    def __str__(self) -> str:
        return f"attempt {self.attempt} at {self.task} on {self.machine} (process {self.pid})"


class Diaries:
    """The diaries of all runs of a fleet, and the gates for which its agents wait."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "gates").mkdir(parents=True, exist_ok=True)

    def runs(self, task: str | None = None, attempt: int | None = None) -> list[AgentRun]:
        """The runs that have begun, ordered by their beginning."""
        paths = self.folder.glob(f"{task or '*'}.{attempt or '*'}.*")
        found = [run for path in paths if (run := read(path)) is not None]
        return sorted(found, key=lambda run: run.began_at)

    def wait_for(self, task: str, attempt: int = 1) -> AgentRun:
        """Wait until that attempt's run has begun, and return it."""
        return wait_until(lambda: self.runs(task, attempt), f"attempt {attempt} at {task} begins")[0]

    def now(self, run: AgentRun) -> AgentRun:
        """The present state of that run."""
        return read(self.folder / f"{run.task}.{run.attempt}.{run.pid}") or run

    def open_gate(self, name: str) -> None:
        """Let agents that work `until:` that name finish."""
        (self.folder / "gates" / name).touch()

    def close_gate(self, name: str) -> None:
        (self.folder / "gates" / name).unlink(missing_ok=True)


def read(path: Path) -> AgentRun | None:
    """The run that a diary describes; None while it has no whole line."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines(keepends=True) if line.endswith(WHOLE)]
    if not lines:
        return None
    first, last = lines[0], lines[-1]
    return AgentRun(
        task=first["task"],
        attempt=first["attempt"],
        machine=first["machine"],
        role=first["role"],
        connection=first["connection"],
        pid=first["pid"],
        began_at=first["at"],
        last_at=last["at"],
        end=last["kind"] if last["kind"] in ("ends", "fails") else None,
        notes=next((line["notes"] for line in reversed(lines) if line.get("notes")), ""),
    )
