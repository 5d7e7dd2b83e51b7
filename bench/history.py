"""Measures whether a long history slows the work: the same load on stores with 8, 10,000 and 1,000,000 finished tasks.

The history consists of tasks that were really done: one in each room over HTTP, which is then copied in the file, with
its messages, while no server runs. Events are not copied, because the server keeps only a limited number of them.
"""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import uvloop

from bench.sample import median
from bench.server_process import describe_server, start_server
from bench.table import BenchmarkResult, Comparison, Goal, Row
from bench.task_client import TaskClient
from bench.tasks import run_workers
from greenroom.store.store import DATABASE_NAME

SIZES: Final = (8, 10_000, 1_000_000)
WORKERS: Final = 8
ROUNDS: Final = 5
SECONDS: Final = 2.0
RATIO_MIN: Final = 0.8
"""A rate above this part of the rate without a history counts as equal: other processes alone cost that much."""

COPIED: Final = ("tasks", "messages")
NUMBERS_SQL: Final = "WITH RECURSIVE counted (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM counted LIMIT ?)"


def measure() -> BenchmarkResult:
    """Measure all sizes in turn, round by round, so that other load on the machine affects all of them."""
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder, ExitStack() as stack:
        teams = {size: stack.enter_context(start_team(Path(folder) / str(size), size)) for size in SIZES}
        rates: dict[int, list[float]] = {size: [] for size in SIZES}
        for _ in range(ROUNDS):
            for size in SIZES:
                rates[size].append(uvloop.run(run_workers(teams[size], SECONDS)))
    baseline = median(rates[SIZES[0]])
    rows = tuple(
        Row(
            label=f"tasks opened, claimed and completed with {size:,} in the history, {WORKERS} workers",
            figure=median(rates[size]),
            unit="tasks/s",
            comparison=Comparison(f"{SIZES[0]} in the history", baseline),
            goal=Goal(">=", RATIO_MIN, "ratio"),
            samples=tuple(rates[size]),
        )
        for size in SIZES[1:]
    )
    return BenchmarkResult(
        rows, (f"medians of {ROUNDS} rounds of {SECONDS:g} s, in turn; the history is in the same rooms",)
    )


@contextmanager
def start_team(data_dir: Path, size: int) -> Iterator[list[TaskClient]]:
    """Workers on a server of their own, in rooms in which `size` tasks in all were done before."""
    data_dir.mkdir()
    with start_server(data_dir) as (process, url):
        first = describe_server(data_dir, url, process.pid)
        uvloop.run(do_one_task_each(TaskClient(first, f"room{number}") for number in range(WORKERS)))
    copy_history(data_dir / DATABASE_NAME, size)
    with start_server(data_dir) as (process, url):
        again = describe_server(data_dir, url, process.pid)
        yield [TaskClient(again, f"room{number}", is_new=False) for number in range(WORKERS)]


async def do_one_task_each(errands: Iterator[TaskClient]) -> None:
    """Do one task in each room."""
    for errand in errands:
        await errand.connect()
        await errand.open_task()
        await errand.complete(await errand.claim(0.0))
        errand.close()


def copy_history(database: Path, size: int) -> None:
    """Copy the finished tasks of each room, and their messages, until there are about `size` tasks."""
    with closing(sqlite3.connect(database)) as connection, connection:
        for table in COPIED if size > WORKERS else ():
            columns = connection.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
            names = ", ".join(f'"{name}"' for (name,) in columns if name not in ("num", "id"))
            connection.execute(
                f"{NUMBERS_SQL} INSERT INTO {table} (id, {names})"
                f" SELECT id || '-' || number, {names} FROM {table} CROSS JOIN counted",
                (size // WORKERS - 1,),
            )
