"""How long healing took, measured from outside, and the report of it. Must not know what the faults were.

Where the variable `HEALING_REPORT` names a folder, each figure goes there as a line of JSON, and is held to its promise
to the letter. Run as a program it prints the figures of such a folder as a table.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.acceptance.fleet.diaries import Run
from tests.acceptance.fleet.evidence import Death, attempt_of, seconds
from tests.acceptance.fleet.fleet import ALLOWANCE_S, REPORT, Fleet
from tests.acceptance.waiting import wait_until

RUN_AGAIN_WITHIN_S = 2.0
"""Beside the rest that the daemon had drawn."""


def report(fault: str, took_s: float, bound_s: float, rest_s: float = 0.0) -> None:
    """Write a figure down; `rest_s` of it was a rest that is meant to be. Fails when it took longer than promised."""
    line = {"fault": fault, "took_s": round(took_s, 3), "rest_s": round(rest_s, 3), "bound_s": bound_s}
    print(f"healed: {line}")
    if folder := os.environ.get(REPORT):
        Path(folder).mkdir(parents=True, exist_ok=True)
        with (Path(folder) / f"{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    assert took_s - rest_s <= bound_s + ALLOWANCE_S, line


def runs_again(fleet: Fleet, fault: str, run: Run, ended_at: float) -> Run:
    """See that the task of a run that ended at `ended_at` (wall clock) is run again in time: its next run."""
    fleet.deaths.append(Death(run.task, run.attempt, ended_at, RUN_AGAIN_WITHIN_S + ALLOWANCE_S))
    newer = fleet.diaries.wait_for(run.task, run.attempt + 1)
    exited = wait_until(lambda: exits_of(fleet, run), f"the end of {run} is told")[0]["data"]
    assert not exited["intended"], exited
    rest_s = seconds(exited["until"]) - seconds(exited["at"])
    report(f"{fault}: its task runs again", newer.began_at - ended_at, RUN_AGAIN_WITHIN_S, rest_s)
    return newer


def exits_of(fleet: Fleet, run: Run) -> list[dict[str, dict[str, str]]]:
    """The events in which the end of a run was told."""
    wanted = (run.task, run.attempt)
    return [each for each in fleet.house.api.events() if each["type"] == "agent.exited" and attempt_of(each) == wanted]


def table(folder: Path) -> Iterator[str]:
    """The figures of each fault: how many, the median, the worst, and what is promised."""
    figures: dict[str, list[dict[str, float]]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in map(json.loads, path.read_text("utf-8").splitlines()):
            figures.setdefault(line["fault"], []).append(line)
    yield "| what befell it, and what is healed then | times | median | worst | promised |"
    yield "|---|---:|---:|---:|---:|"
    for fault, lines in sorted(figures.items()):
        took = [line["took_s"] - line["rest_s"] for line in lines]
        beside = " and its rest" if any(line["rest_s"] for line in lines) else ""
        bound = max(line["bound_s"] for line in lines)
        yield (
            f"| {fault} | {len(lines)} | {statistics.median(took):.2f} s | {max(took):.2f} s | {bound:.1f} s{beside} |"
        )


if __name__ == "__main__":
    print("\n".join(table(Path(sys.argv[1]))))
