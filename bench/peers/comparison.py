"""Measures Greenroom and the other systems in turn, round after round, and makes their table and goals."""

import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.commits import time_commits
from bench.peers import celery, greenroom, procrastinate
from bench.peers.contender import IN_FLIGHT, Contender
from bench.peers.field import Field, Readings
from bench.peers.postgres import postgres
from bench.sample import median
from bench.table import Beside, Goal, Grid, Piece, Row, spell

ROUNDS: Final = 5
OURS: Final = (greenroom.SQLITE, greenroom.POSTGRES)
HEADINGS: Final = ("system", "tasks/s", "begun p50", "begun p99", "done p50", "done p99")


def measure() -> Piece:
    """Start all systems, measure them in turn for five rounds, stop them."""
    commits = []
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder, ExitStack() as stack:
        present = Field(stack)
        gather(present, Path(folder), stack)
        readings = {contender.name: Readings() for contender in present.contenders}
        for number in range(ROUNDS):
            print(f"  round {number + 1} of {ROUNDS} ...", file=sys.stderr, flush=True)
            commits += time_commits()
            for contender in rotated(present.contenders, number):
                ask(contender, readings[contender.name], present)
    measured = {name: taken for name, taken in readings.items() if name not in present.absent}
    return conclude(measured, present.absent, 1e3 * median(commits))


def gather(present: Field, folder: Path, stack: ExitStack) -> None:
    """Start all systems. Without PostgreSQL, those that need it are listed as absent."""
    present.seat(greenroom.greenroom(greenroom.SQLITE))
    try:
        server = stack.enter_context(postgres(folder))
        greenroom_url, procrastinate_url = server.database("greenroom"), server.database("procrastinate")
    except Exception as error:
        present.excuse(greenroom.POSTGRES, error)
        present.excuse(procrastinate.NAME, error)
    else:
        present.seat(greenroom.greenroom(greenroom.POSTGRES, greenroom_url))
        present.invite(procrastinate.NAME, procrastinate.procrastinate(folder, procrastinate_url))
    present.invite(celery.LATE, celery.celery(folder))
    present.invite(celery.DURABLE, celery.durable_celery(folder))


def rotated(contenders: list[Contender], by: int) -> list[Contender]:
    """The order of one round: each begins with another system, so that none always follows the same one."""
    first = by % len(contenders)
    return contenders[first:] + contenders[:first]


def ask(contender: Contender, readings: Readings, present: Field) -> None:
    """Measure one round of one system. An error of another system makes it absent; one of Greenroom is raised."""
    try:
        readings.rates.append(contender.rate())
        if contender.dispatches is not None:
            readings.dispatches.extend(contender.dispatches())
    except Exception as error:
        if contender.name in OURS:
            raise
        present.excuse(contender.name, error)


def conclude(readings: dict[str, Readings], absent: dict[str, str], commit_ms: float) -> Piece:
    """The table of all systems, and the rows with Greenroom's goals."""
    lines = [line(name, taken) for name, taken in readings.items()]
    lines += [(name, why, *("" for _ in HEADINGS[2:])) for name, why in absent.items()]
    rows = [row for name in OURS if name in readings for row in goals(name, readings, commit_ms)]
    rates = "; ".join(
        f"{name} {spell(min(taken.rates))} to {spell(max(taken.rates))}" for name, taken in readings.items()
    )
    notes = (
        f"tasks/s are medians of {ROUNDS} rounds, and ranged from: {rates}",
        f"one durable commit of one row by SQLite alone took {commit_ms:.2f} ms (median)",
    )
    return Piece(tuple(rows), notes, Grid(HEADINGS, tuple(lines)))


def line(name: str, taken: Readings) -> tuple[str, ...]:
    """The line of one system in the table."""
    latencies = (
        [f"{spell(ms)} ms" for ms in (taken.begun_ms(50), taken.begun_ms(99), taken.done_ms(50), taken.done_ms(99))]
        if taken.dispatches
        else ["" for _ in HEADINGS[2:]]
    )
    return (name, spell(taken.rate), *latencies)


def goals(name: str, readings: dict[str, Readings], commit_ms: float) -> Iterable[Row]:
    """The rows with Greenroom's goals against other systems; without a comparison where the other is absent."""
    ours = readings[name]
    for peer, times in ((celery.LATE, 2), (procrastinate.NAME, 5)):
        yield Row(
            what=f"{name}: whole tasks, {IN_FLIGHT} in flight",
            figure=ours.rate,
            unit="tasks/s",
            beside=Beside(peer, readings[peer].rate) if peer in readings else None,
            goal=Goal(">=", times, "ratio"),
            samples=tuple(ours.rates),
        )
    late = readings.get(celery.LATE)
    yield Row(
        what=f"{name}: dispatch, submitted to begun, p50",
        figure=ours.begun_ms(50),
        unit="ms",
        beside=Beside(f"{celery.LATE}, and one commit", late.begun_ms(50) + commit_ms) if late is not None else None,
        goal=Goal("<=", 1, "ratio"),
        samples=tuple(1e3 * taken.begun_s for taken in ours.dispatches),
    )
