"""Measures Greenroom and the other systems in turn, round after round, and makes their table and goals."""

import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.commits import time_commits
from bench.peers import celery, greenroom, procrastinate
from bench.peers.postgres import postgres
from bench.peers.system import IN_FLIGHT, ComparedSystem
from bench.peers.systems import ComparedSystems, Readings
from bench.sample import median
from bench.table import BenchmarkResult, Comparison, Goal, Row, SystemTable, format_number

ROUNDS: Final = 5
GREENROOM_NAMES: Final = (greenroom.SQLITE, greenroom.POSTGRES)
HEADINGS: Final = ("system", "tasks/s", "begun p50", "begun p99", "done p50", "done p99")


def measure() -> BenchmarkResult:
    """Start all systems, measure them in turn for five rounds, stop them."""
    commits = []
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder, ExitStack() as stack:
        present = ComparedSystems(stack)
        start_systems(present, Path(folder), stack)
        readings = {contender.name: Readings() for contender in present.systems}
        for number in range(ROUNDS):
            print(f"  round {number + 1} of {ROUNDS} ...", file=sys.stderr, flush=True)
            commits += time_commits()
            for contender in rotate(present.systems, number):
                measure_round(contender, readings[contender.name], present)
    measured = {name: taken for name, taken in readings.items() if name not in present.absent}
    return build_result(measured, present.absent, 1e3 * median(commits))


def start_systems(present: ComparedSystems, folder: Path, stack: ExitStack) -> None:
    """Start all systems. Without PostgreSQL, those that need it are listed as absent."""
    present.start(greenroom.greenroom(greenroom.SQLITE))
    try:
        server = stack.enter_context(postgres(folder))
        greenroom_url, procrastinate_url = server.database("greenroom"), server.database("procrastinate")
    except Exception as error:
        present.mark_absent(greenroom.POSTGRES, error)
        present.mark_absent(procrastinate.NAME, error)
    else:
        present.start(greenroom.greenroom(greenroom.POSTGRES, greenroom_url))
        present.start_optional(procrastinate.NAME, procrastinate.procrastinate(folder, procrastinate_url))
    present.start_optional(celery.LATE, celery.celery(folder))
    present.start_optional(celery.DURABLE, celery.durable_celery(folder))


def rotate(contenders: list[ComparedSystem], by: int) -> list[ComparedSystem]:
    """The order of one round: each begins with another system, so that none always follows the same one."""
    first = by % len(contenders)
    return contenders[first:] + contenders[:first]


def measure_round(contender: ComparedSystem, readings: Readings, present: ComparedSystems) -> None:
    """Measure one round of one system. An error of another system makes it absent; one of Greenroom is raised."""
    try:
        readings.rates.append(contender.measure_rate())
        if contender.measure_dispatches is not None:
            readings.dispatches.extend(contender.measure_dispatches())
    except Exception as error:
        if contender.name in GREENROOM_NAMES:
            raise
        present.mark_absent(contender.name, error)


def build_result(readings: dict[str, Readings], absent: dict[str, str], commit_ms: float) -> BenchmarkResult:
    """The table of all systems, and the rows with Greenroom's goals."""
    lines = [format_line(name, taken) for name, taken in readings.items()]
    lines += [(name, why, *("" for _ in HEADINGS[2:])) for name, why in absent.items()]
    rows = [row for name in GREENROOM_NAMES if name in readings for row in goal_rows(name, readings, commit_ms)]
    rates = "; ".join(
        f"{name} {format_number(min(taken.rates))} to {format_number(max(taken.rates))}"
        for name, taken in readings.items()
    )
    notes = (
        f"tasks/s are medians of {ROUNDS} rounds, and ranged from: {rates}",
        f"one durable commit of one row by SQLite alone took {commit_ms:.2f} ms (median)",
    )
    return BenchmarkResult(tuple(rows), notes, SystemTable(HEADINGS, tuple(lines)))


def format_line(name: str, taken: Readings) -> tuple[str, ...]:
    """The line of one system in the table."""
    latencies = (
        [
            f"{format_number(ms)} ms"
            for ms in (taken.begun_ms(50), taken.begun_ms(99), taken.done_ms(50), taken.done_ms(99))
        ]
        if taken.dispatches
        else ["" for _ in HEADINGS[2:]]
    )
    return (name, format_number(taken.rate), *latencies)


def goal_rows(name: str, readings: dict[str, Readings], commit_ms: float) -> Iterable[Row]:
    """The rows with Greenroom's goals against other systems; without a comparison where the other is absent."""
    ours = readings[name]
    for peer, times in ((celery.LATE, 2), (procrastinate.NAME, 5)):
        yield Row(
            label=f"{name}: whole tasks, {IN_FLIGHT} in flight",
            figure=ours.rate,
            unit="tasks/s",
            comparison=Comparison(peer, readings[peer].rate) if peer in readings else None,
            goal=Goal(">=", times, "ratio"),
            samples=tuple(ours.rates),
        )
    late = readings.get(celery.LATE)
    yield Row(
        label=f"{name}: dispatch, submitted to begun, p50",
        figure=ours.begun_ms(50),
        unit="ms",
        comparison=Comparison(f"{celery.LATE}, and one commit", late.begun_ms(50) + commit_ms)
        if late is not None
        else None,
        goal=Goal("<=", 1, "ratio"),
        samples=tuple(1e3 * taken.begun_s for taken in ours.dispatches),
    )
