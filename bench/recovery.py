"""Measures recovery: from killing the process that runs a task until the same task runs again."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.peers import killed_tasks
from bench.peers.killed_tasks import KillableSystem
from bench.peers.postgres import postgres
from bench.peers.systems import format_reason
from bench.sample import median
from bench.table import BenchmarkResult, Goal, Row, SystemTable, format_number

TIMES: Final = 5
TIMES_SLOW: Final = 3
"""For runs that may take two minutes each."""
LIMIT_S: Final = 150.0
LIMIT_LOST_S: Final = 30.0
"""For a system whose task may not be run again at all."""
RUNS_BEFORE_KILL_S: Final = 0.5
"""A task has run for this long when it is killed."""
PROCESS: Final = "the process that runs it"
EVERYTHING: Final = "all that runs tasks"
HEADINGS: Final = ("system", "killed", "median", "worst", "backoff in it")


@dataclass
class Recoveries:
    """The recovery times of one system in one way of being killed. None: not within the limit."""

    name: str
    killed: str
    took_s: list[float | None] = field(default_factory=list)
    backoff_s: list[float] = field(default_factory=list)
    limit_s: float = LIMIT_S


def measure() -> BenchmarkResult:
    """Measure one system after the other, so that no recovery is slowed by another system."""
    measured: list[Recoveries] = []
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
        place = Path(folder)
        measured += kill_tasks(killed_tasks.greenroom(place), TIMES, TIMES)
        try:
            measured += kill_tasks(killed_tasks.celery(place), TIMES, TIMES_SLOW)
        except Exception as error:
            absent[killed_tasks.LATE] = format_reason(error)
        try:
            with postgres(place) as server:
                measured += kill_tasks(killed_tasks.procrastinate(place, server.database("mortals")), 0, TIMES_SLOW)
        except Exception as error:
            absent[killed_tasks.PROCRASTINATE] = format_reason(error)
    return build_result(measured, absent)


def kill_tasks(starting: AbstractContextManager[list[KillableSystem]], runs: int, crashes: int) -> list[Recoveries]:
    """Start a system, and kill its tasks `runs` times in the first way and `crashes` times in the second."""
    with starting as present:
        return [
            measure_recoveries(mortal, killed, times)
            for mortal in present
            for killed, times in ((PROCESS, runs), (EVERYTHING, crashes))
            if times > 0 and (killed == PROCESS or mortal.name != killed_tasks.REJECTED)
        ]


def measure_recoveries(mortal: KillableSystem, killed: str, times: int) -> Recoveries:
    """Kill and wait, several times in a row. A task that is not expected to be run again is killed once only."""
    print(f"  {mortal.name}: {killed} ...", file=sys.stderr, flush=True)
    recoveries = Recoveries(mortal.name, killed)
    if mortal.name == killed_tasks.LATE and killed == PROCESS:
        recoveries.limit_s, times = LIMIT_LOST_S, 1
    for _ in range(times):
        recoveries.took_s.append(measure_recovery(mortal, killed, recoveries.limit_s))
        if mortal.backoff_s is not None:
            recoveries.backoff_s.append(mortal.backoff_s())
        print(f"    {recoveries.took_s[-1]}", file=sys.stderr, flush=True)
    return recoveries


def measure_recovery(mortal: KillableSystem, killed: str, limit_s: float) -> float | None:
    """Seconds from the kill until the same task runs again."""
    mortal.submit()
    first = mortal.starts.wait_for_start(killed_tasks.TIMEOUT_S)
    if first is None:
        raise RuntimeError(f"{mortal.name}: the task never began")
    time.sleep(RUNS_BEFORE_KILL_S)
    died_at = time.monotonic()
    if killed == PROCESS:
        os.kill(first.pid, signal.SIGKILL)
    else:
        mortal.kill_all()
    again = mortal.starts.wait_for_start(limit_s)
    if again is not None and again.key != first.key:
        raise RuntimeError(f"{mortal.name}: {first.key} was killed, but {again.key} was run again")
    return None if again is None else again.at - died_at


def build_result(measured: Sequence[Recoveries], absent: dict[str, str]) -> BenchmarkResult:
    """The table of all systems, and the rows with Greenroom's goal: two seconds, not counting its backoff."""
    lines = [format_line(recoveries) for recoveries in measured]
    lines += [(name, why, *("" for _ in HEADINGS[2:])) for name, why in absent.items()]
    rows = [
        Row(
            label=f"{recoveries.name}: {recoveries.killed} killed, until the same task runs again, without its backoff",
            figure=max(without),
            unit="s, worst",
            goal=Goal("<=", 2) if recoveries.killed == PROCESS else None,
            samples=tuple(without),
        )
        for recoveries in measured
        if recoveries.backoff_s and (without := without_backoff_s(recoveries))
    ]
    return BenchmarkResult(tuple(rows), build_notes(), SystemTable(HEADINGS, tuple(lines)))


def without_backoff_s(recoveries: Recoveries) -> list[float]:
    """The recovery times without the backoff that delayed each on purpose."""
    pairs = zip(recoveries.took_s, recoveries.backoff_s, strict=True)
    return [max(0.0, took_s - backoff_s) for took_s, backoff_s in pairs if took_s is not None]


def format_line(recoveries: Recoveries) -> tuple[str, ...]:
    """The line of one system in the table."""
    recovered_s = [took_s for took_s in recoveries.took_s if took_s is not None]
    if len(recovered_s) < len(recoveries.took_s):
        never = f"not within {format_number(recoveries.limit_s)} s"
        middle = never if not recovered_s else f"{format_number(median(recovered_s))} s"
        return (recoveries.name, recoveries.killed, middle, never, "")
    backoff = f"{format_number(median(recoveries.backoff_s))} s" if recoveries.backoff_s else ""
    middle, worst = f"{format_number(median(recovered_s))} s", f"{format_number(max(recovered_s))} s"
    return (recoveries.name, recoveries.killed, middle, worst, backoff)


def build_notes() -> tuple[str, ...]:
    """Notes below the table on how it was measured."""
    return (
        f"each {TIMES} times, slow ones {TIMES_SLOW} times, {RUNS_BEFORE_KILL_S:g} s after the task had begun; a "
        f"system "
        "that was killed as a whole was started again at once",
        "a job of Procrastinate is a thread of its worker, so that one process is all that runs tasks",
        "Celery's reject on worker lost makes no difference when its whole worker is killed",
    )
