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

from bench.peers import mortals
from bench.peers.field import reason_of
from bench.peers.mortals import Mortal
from bench.peers.postgres import postgres
from bench.sample import median
from bench.table import Goal, Grid, Piece, Row, spell

TIMES: Final = 5
TIMES_SLOW: Final = 3
"""For runs that may take two minutes each."""
LIMIT_S: Final = 150.0
LIMIT_LOST_S: Final = 30.0
"""For a system whose task may not be run again at all."""
SETTLED_S: Final = 0.5
"""A task has run for this long when it is killed."""
RUN: Final = "the process that runs it"
ALL: Final = "all that runs tasks"
HEADINGS: Final = ("system", "killed", "median", "worst", "backoff in it")


@dataclass
class Recoveries:
    """The recovery times of one system in one way of being killed. None: not within the limit."""

    name: str
    killed: str
    took_s: list[float | None] = field(default_factory=list)
    backoff_s: list[float] = field(default_factory=list)
    limit_s: float = LIMIT_S


def measure() -> Piece:
    """Measure one system after the other, so that no recovery is slowed by another system."""
    measured: list[Recoveries] = []
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
        place = Path(folder)
        measured += take(mortals.greenroom(place), TIMES, TIMES)
        try:
            measured += take(mortals.celery(place), TIMES, TIMES_SLOW)
        except Exception as error:
            absent[mortals.LATE] = reason_of(error)
        try:
            with postgres(place) as server:
                measured += take(mortals.procrastinate(place, server.database("mortals")), 0, TIMES_SLOW)
        except Exception as error:
            absent[mortals.PROCRASTINATE] = reason_of(error)
    return conclude(measured, absent)


def take(starting: AbstractContextManager[list[Mortal]], runs: int, crashes: int) -> list[Recoveries]:
    """Start a system, and kill its tasks `runs` times in the first way and `crashes` times in the second."""
    with starting as present:
        return [
            repeat(mortal, killed, times)
            for mortal in present
            for killed, times in ((RUN, runs), (ALL, crashes))
            if times > 0 and (killed == RUN or mortal.name != mortals.REJECTED)
        ]


def repeat(mortal: Mortal, killed: str, times: int) -> Recoveries:
    """Kill and wait, several times in a row. A task that is not expected to be run again is killed once only."""
    print(f"  {mortal.name}: {killed} ...", file=sys.stderr, flush=True)
    recoveries = Recoveries(mortal.name, killed)
    if mortal.name == mortals.LATE and killed == RUN:
        recoveries.limit_s, times = LIMIT_LOST_S, 1
    for _ in range(times):
        recoveries.took_s.append(recover(mortal, killed, recoveries.limit_s))
        if mortal.backoff_s is not None:
            recoveries.backoff_s.append(mortal.backoff_s())
        print(f"    {recoveries.took_s[-1]}", file=sys.stderr, flush=True)
    return recoveries


def recover(mortal: Mortal, killed: str, limit_s: float) -> float | None:
    """Seconds from the kill until the same task runs again."""
    mortal.submit()
    first = mortal.ear.hear(mortals.PATIENCE_S)
    if first is None:
        raise RuntimeError(f"{mortal.name}: the task never began")
    time.sleep(SETTLED_S)
    died_at = time.monotonic()
    if killed == RUN:
        os.kill(first.pid, signal.SIGKILL)
    else:
        mortal.crash()
    again = mortal.ear.hear(limit_s)
    if again is not None and again.key != first.key:
        raise RuntimeError(f"{mortal.name}: {first.key} was killed, but {again.key} was run again")
    return None if again is None else again.at - died_at


def conclude(measured: Sequence[Recoveries], absent: dict[str, str]) -> Piece:
    """The table of all systems, and the rows with Greenroom's goal: two seconds, not counting its backoff."""
    lines = [line(recoveries) for recoveries in measured]
    lines += [(name, why, *("" for _ in HEADINGS[2:])) for name, why in absent.items()]
    rows = [
        Row(
            what=f"{recoveries.name}: {recoveries.killed} killed, until the same task runs again, without its backoff",
            figure=max(without),
            unit="s, worst",
            goal=Goal("<=", 2) if recoveries.killed == RUN else None,
            samples=tuple(without),
        )
        for recoveries in measured
        if recoveries.backoff_s and (without := managed_s(recoveries))
    ]
    return Piece(tuple(rows), notes_of(), Grid(HEADINGS, tuple(lines)))


def managed_s(recoveries: Recoveries) -> list[float]:
    """The recovery times without the backoff that delayed each on purpose."""
    pairs = zip(recoveries.took_s, recoveries.backoff_s, strict=True)
    return [max(0.0, took_s - backoff_s) for took_s, backoff_s in pairs if took_s is not None]


def line(recoveries: Recoveries) -> tuple[str, ...]:
    """The line of one system in the table."""
    recovered_s = [took_s for took_s in recoveries.took_s if took_s is not None]
    if len(recovered_s) < len(recoveries.took_s):
        never = f"not within {spell(recoveries.limit_s)} s"
        middle = never if not recovered_s else f"{spell(median(recovered_s))} s"
        return (recoveries.name, recoveries.killed, middle, never, "")
    backoff = f"{spell(median(recoveries.backoff_s))} s" if recoveries.backoff_s else ""
    middle, worst = f"{spell(median(recovered_s))} s", f"{spell(max(recovered_s))} s"
    return (recoveries.name, recoveries.killed, middle, worst, backoff)


def notes_of() -> tuple[str, ...]:
    """Notes below the table on how it was measured."""
    return (
        f"each {TIMES} times, slow ones {TIMES_SLOW} times, {SETTLED_S:g} s after the task had begun; a system "
        "that was killed as a whole was started again at once",
        "a job of Procrastinate is a thread of its worker, so that one process is all that runs tasks",
        "Celery's reject on worker lost makes no difference when its whole worker is killed",
    )
