"""Measures how long recovery took, and prints the table of docs/proofs.md.

If the variable `RECOVERY_REPORT` names a folder, each figure goes there as a line of JSON. No figure is asserted: a
busy computer makes it larger. Run as a program, the module prints the figures of such a folder as a table, beside what
is promised and how often it took longer.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.process.fleet.diaries import AgentRun
from tests.process.fleet.fleet import BACKOFF_S_MAX, MachineFleet
from tests.process.fleet.observation import Event, HolderFailure, seconds
from tests.waiting import wait_until

REPORT = "RECOVERY_REPORT"
AT_ONCE = "at once"
"""Promised where a notification or report triggers it: no lease, heartbeat or timer has to run out."""


def report(fault: str, took_s: float, promised_s: float | None = None, backoff_s: float = 0.0) -> None:
    """Record a figure; `backoff_s` of it was the agent's backoff. Without `promised_s` the promise is "at once"."""
    line = {"fault": fault, "took_s": round(took_s, 3), "backoff_s": round(backoff_s, 3), "promised_s": promised_s}
    print(f"recovered: {line}")
    if folder := os.environ.get(REPORT):
        Path(folder).mkdir(parents=True, exist_ok=True)
        with (Path(folder) / f"{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def check_runs_again(fleet: MachineFleet, fault: str, run: AgentRun, ended_at: float) -> AgentRun:
    """Assert that the task of a run that failed at `ended_at` (wall clock) is run again; return its next run.

    The exit releases the task, which `check` asserts; one agent joins the role, once, after a backoff no longer than
    the configured one, and claims the task.
    """
    fleet.failures.append(HolderFailure(run.task, run.attempt, ended_at))
    newer = wait_until(
        lambda: [each for each in fleet.diaries.runs(run.task) if each.attempt > run.attempt], f"a run after {run}"
    )[0]
    [exited] = wait_until(lambda: exits_of(fleet, run), f"the end of {run} is reported")
    assert not exited["data"]["intended"], exited
    backoff_s = seconds(exited["data"]["until"]) - seconds(exited["data"]["at"])
    assert backoff_s <= BACKOFF_S_MAX, exited
    later = [each for each in fleet.installation.api.events() if each["pos"] > exited["pos"]]
    since = [each["type"] for each in later if each["data"].get("role") == run.role and each["type"] in JOIN_AND_CLAIM]
    assert JOIN_AND_CLAIM == tuple(since[:2]), since
    report(f"{fault}: its task runs again", newer.began_at - ended_at, backoff_s=backoff_s)
    return newer


JOIN_AND_CLAIM = ("participant.joined", "task.claimed")


def exits_of(fleet: MachineFleet, run: AgentRun) -> list[Event]:
    """The events that report the end of a run."""
    return fleet.events_of("agent.exited", task=run.task, attempt=run.attempt)


def table(folder: Path) -> Iterator[str]:
    """The lines of a table: for each fault the count, median and worst time, the promise, and how many are above it."""
    figures: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in map(json.loads, path.read_text("utf-8").splitlines()):
            figures.setdefault(line["fault"], []).append(line)
    yield "| fault, and what has recovered | times | median | worst | promised | above that |"
    yield "|---|---:|---:|---:|---:|---:|"
    for fault, lines in sorted(figures.items()):
        times = [line["took_s"] - line["backoff_s"] for line in lines]
        promises = [line["promised_s"] for line in lines if line["promised_s"] is not None]
        promised = f"{max(promises):.1f} s" if promises else AT_ONCE
        promised += ", after the backoff" if any(line["backoff_s"] for line in lines) else ""
        above = str(sum(each > max(promises) for each in times)) if promises else ""
        worst = f"{statistics.median(times):.2f} s | {max(times):.2f} s"
        yield f"| {fault} | {len(lines)} | {worst} | {promised} | {above} |"


if __name__ == "__main__":
    print("\n".join(table(Path(sys.argv[1]))))
