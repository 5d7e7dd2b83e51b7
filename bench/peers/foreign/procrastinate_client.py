"""Submits jobs to Procrastinate and waits until they have succeeded, as an application would."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from typing import Final

from bench.peers.foreign.call_loop import answer_calls
from bench.peers.foreign.procrastinate_tasks import app, noop_job, report_address, reporting_job

PATIENCE_S: Final = 30.0
POLL_S: Final = 0.01
OPEN_SQL: Final = "SELECT count(*) AS count FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
FAILED_SQL: Final = (
    "SELECT count(*) AS count FROM procrastinate_jobs WHERE status NOT IN ('todo', 'doing', 'succeeded')"
)


async def open_app() -> None:
    """Connect, and create the tables."""
    await app.open_async()
    await app.schema_manager.apply_schema_async()


async def rate(count: int, in_flight: int) -> float:
    """Jobs per second, from the first submission until the last success; `in_flight` submissions run at a time."""
    left = iter(range(count))
    started_at = time.monotonic()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(submit(left) for _ in range(in_flight)))
        while await count_jobs(OPEN_SQL):  # noqa: ASYNC110 - the event is in the database
            await asyncio.sleep(POLL_S)
    passed_s = time.monotonic() - started_at
    if failed := await count_jobs(FAILED_SQL):
        raise RuntimeError(f"{failed} no-op jobs failed")
    return count / passed_s


async def submit(left: Iterator[int]) -> None:
    """Submit one job after another while there are any left."""
    for _ in left:
        await noop_job.defer_async()


async def count_jobs(query: str) -> int:
    """Run a query that counts jobs; the count."""
    return int((await app.connector.execute_query_one_async(query))["count"])


async def dispatches(reports: socket.socket, seconds: float, pause_s: float) -> list[tuple[float, float]]:
    """For one job after another: seconds from submitting it until it began, and until the database says it succeeded.

    The database is polled from the start of the job on, since Procrastinate does not notify of its end.
    """
    taken = []
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        await asyncio.sleep(pause_s)
        sent_at = time.monotonic()
        await reporting_job.defer_async()
        began_at = float(await asyncio.wait_for(asyncio.get_running_loop().sock_recv(reports, 64), PATIENCE_S))
        while await count_jobs(OPEN_SQL):
            pass
        taken.append((began_at - sent_at, time.monotonic() - sent_at))
    return taken


def main() -> None:
    """Answer calls until stdin ends, all on one event loop: the connection pool belongs to it."""
    with asyncio.Runner() as runner, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reports:
        reports.bind(report_address)
        reports.setblocking(False)
        runner.run(open_app())
        answer_calls(
            {
                "open": os.getpid,
                "rate": lambda count, in_flight: runner.run(rate(int(count), int(in_flight))),
                "dispatches": lambda seconds, pause_s: runner.run(dispatches(reports, float(seconds), float(pause_s))),
            }
        )
        runner.run(app.close_async())


if __name__ == "__main__":
    main()
