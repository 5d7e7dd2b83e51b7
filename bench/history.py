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

from bench.errands import Errand
from bench.house import house_at, server
from bench.sample import median
from bench.table import Beside, Goal, Piece, Row
from bench.tasks import run
from greenroom.store.store import DATABASE_NAME

SIZES: Final = (8, 10_000, 1_000_000)
WORKERS: Final = 8
ROUNDS: Final = 5
SECONDS: Final = 2.0
FLAT: Final = 0.8
"""A rate above this part of the rate without a history counts as equal: other processes alone cost that much."""

COPIED: Final = ("tasks", "messages")
COUNTED: Final = "WITH RECURSIVE counted (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM counted LIMIT ?)"


def measure() -> Piece:
    """Measure all sizes in turn, round by round, so that other load on the machine affects all of them."""
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder, ExitStack() as stack:
        teams = {size: stack.enter_context(team(Path(folder) / str(size), size)) for size in SIZES}
        rates: dict[int, list[float]] = {size: [] for size in SIZES}
        for _ in range(ROUNDS):
            for size in SIZES:
                rates[size].append(uvloop.run(run(teams[size], SECONDS)))
    baseline = median(rates[SIZES[0]])
    rows = tuple(
        Row(
            what=f"tasks opened, claimed and completed with {size:,} in the history, {WORKERS} workers",
            figure=median(rates[size]),
            unit="tasks/s",
            beside=Beside(f"{SIZES[0]} in the history", baseline),
            goal=Goal(">=", FLAT, "ratio"),
            samples=tuple(rates[size]),
        )
        for size in SIZES[1:]
    )
    return Piece(rows, (f"medians of {ROUNDS} rounds of {SECONDS:g} s, in turn; the history is in the same rooms",))


@contextmanager
def team(data_dir: Path, size: int) -> Iterator[list[Errand]]:
    """Workers on a server of their own, in rooms in which `size` tasks in all were done before."""
    data_dir.mkdir()
    with server(data_dir) as (process, url):
        first = house_at(data_dir, url, process.pid)
        uvloop.run(do_one(Errand(first, f"room{number}") for number in range(WORKERS)))
    lengthen(data_dir / DATABASE_NAME, size)
    with server(data_dir) as (process, url):
        again = house_at(data_dir, url, process.pid)
        yield [Errand(again, f"room{number}", is_new=False) for number in range(WORKERS)]


async def do_one(errands: Iterator[Errand]) -> None:
    """Do one task in each room."""
    for errand in errands:
        await errand.connect()
        await errand.open()
        await errand.complete(await errand.claim(0.0))
        errand.close()


def lengthen(database: Path, size: int) -> None:
    """Copy the finished tasks of each room, and their messages, until there are about `size` tasks."""
    with closing(sqlite3.connect(database)) as connection, connection:
        for table in COPIED if size > WORKERS else ():
            columns = connection.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
            names = ", ".join(f'"{name}"' for (name,) in columns if name not in ("num", "id"))
            connection.execute(
                f"{COUNTED} INSERT INTO {table} (id, {names})"
                f" SELECT id || '-' || number, {names} FROM {table} CROSS JOIN counted",
                (size // WORKERS - 1,),
            )
