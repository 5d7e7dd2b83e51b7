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
    shown: list[Recoveries] = []
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
        place = Path(folder)
        shown += take(mortals.greenroom(place), TIMES, TIMES)
        try:
            shown += take(mortals.celery(place), TIMES, TIMES_SLOW)
        except Exception as error:
            absent[mortals.LATE] = reason_of(error)
        try:
            with postgres(place) as server:
                shown += take(mortals.procrastinate(place, server.database("mortals")), 0, TIMES_SLOW)
        except Exception as error:
            absent[mortals.PROCRASTINATE] = reason_of(error)
    return conclude(shown, absent)


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
    seen = Recoveries(mortal.name, killed)
    if mortal.name == mortals.LATE and killed == RUN:
        seen.limit_s, times = LIMIT_LOST_S, 1
    for _ in range(times):
        seen.took_s.append(recover(mortal, killed, seen.limit_s))
        if mortal.backoff_s is not None:
            seen.backoff_s.append(mortal.backoff_s())
        print(f"    {seen.took_s[-1]}", file=sys.stderr, flush=True)
    return seen


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


def conclude(shown: Sequence[Recoveries], absent: dict[str, str]) -> Piece:
    """The table of all systems, and the rows with Greenroom's goal: two seconds, not counting its backoff."""
    lines = [line(seen) for seen in shown]
    lines += [(name, why, *("" for _ in HEADINGS[2:])) for name, why in absent.items()]
    rows = [
        Row(
            what=f"{seen.name}: {seen.killed} killed, until the same task runs again, without its backoff",
            figure=max(without),
            unit="s, worst",
            goal=Goal("<=", 2) if seen.killed == RUN else None,
            samples=tuple(without),
        )
        for seen in shown
        if seen.backoff_s and (without := managed_s(seen))
    ]
    return Piece(tuple(rows), notes_of(), Grid(HEADINGS, tuple(lines)))


def managed_s(seen: Recoveries) -> list[float]:
    """The recovery times without the backoff that delayed each on purpose."""
    pairs = zip(seen.took_s, seen.backoff_s, strict=True)
    return [max(0.0, took_s - backoff_s) for took_s, backoff_s in pairs if took_s is not None]


def line(seen: Recoveries) -> tuple[str, ...]:
    """The line of one system in the table."""
    back = [took_s for took_s in seen.took_s if took_s is not None]
    if len(back) < len(seen.took_s):
        never = f"not within {spell(seen.limit_s)} s"
        return (seen.name, seen.killed, never if not back else f"{spell(median(back))} s", never, "")
    backoff = f"{spell(median(seen.backoff_s))} s" if seen.backoff_s else ""
    return (seen.name, seen.killed, f"{spell(median(back))} s", f"{spell(max(back))} s", backoff)


def notes_of() -> tuple[str, ...]:
    """Notes below the table on how it was measured."""
    return (
        f"each {TIMES} times, slow ones {TIMES_SLOW} times, {SETTLED_S:g} s after the task had begun; a system "
        "that was killed as a whole was started again at once",
        "a job of Procrastinate is a thread of its worker, so that one process is all that runs tasks",
        "Celery's reject on worker lost makes no difference when its whole worker is killed",
    )
