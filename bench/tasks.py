"""Measures whole tasks over HTTP: each worker opens, claims and completes one after another."""

import asyncio
import time
from typing import Final

import uvloop

from bench.commits import time_commits
from bench.sample import median
from bench.server_process import RunningServer, run_server
from bench.table import BenchmarkResult, Comparison, Row
from bench.task_client import TaskClient

WORKERS: Final = (1, 8, 32)
SECONDS: Final = 4.0
COMMITS: Final = 3
"""A task takes three transactions: it is opened, claimed and completed."""


def measure() -> BenchmarkResult:
    """Measure with 1, 8 and 32 workers, each in a room of its own."""
    commits = time_commits()
    with run_server() as greenroom:
        rates = {workers: uvloop.run(run_workers(create_workers(greenroom, workers), SECONDS)) for workers in WORKERS}
    floor = 1 / (COMMITS * median(commits + time_commits()))
    rows = tuple(
        Row(
            label=f"tasks opened, claimed and completed, {workers} worker{'s' if workers > 1 else ''}",
            figure=rate,
            unit="tasks/s",
            comparison=Comparison(f"{COMMITS} bare commits of SQLite each, one by one", floor),
        )
        for workers, rate in rates.items()
    )
    return BenchmarkResult(rows, ("the client shares the machine's cores with the server it measures",))


def create_workers(greenroom: RunningServer, workers: int) -> list[TaskClient]:
    """Create `workers` workers, each with a room of its own."""
    return [TaskClient(greenroom, f"team{workers}-{number}") for number in range(workers)]


async def run_workers(errands: list[TaskClient], seconds: float) -> float:
    """Run all workers at once for `seconds`; their tasks per second in all."""
    for errand in errands:
        await errand.connect()
    began_at = time.perf_counter()
    counts = await asyncio.gather(*(do_tasks(errand, began_at + seconds) for errand in errands))
    passed_s = time.perf_counter() - began_at
    for errand in errands:
        errand.close()
    return sum(counts) / passed_s


async def do_tasks(errand: TaskClient, ends_at: float) -> int:
    """Do tasks with one worker until `ends_at`; how many it finished."""
    count = 0
    while time.perf_counter() < ends_at:
        opened = await errand.open_task()
        task = await errand.claim(0.0)
        if task.id != opened.id:
            raise RuntimeError(f"opened {opened.id}, but the claim was answered with {task.id}")
        await errand.complete(task)
        count += 1
    return count
