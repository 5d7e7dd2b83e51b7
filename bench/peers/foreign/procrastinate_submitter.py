"""Submits the Procrastinate jobs whose processes will be killed."""

import asyncio
import os

from bench.peers.foreign.call_loop import answer_calls
from bench.peers.foreign.procrastinate_killed_tasks import killed_job
from bench.peers.foreign.procrastinate_tasks import app


async def open_app() -> None:
    """Connect, and create the tables."""
    await app.open_async()
    await app.schema_manager.apply_schema_async()


async def submit(key: str) -> None:
    """Submit one job."""
    await killed_job.defer_async(key=key)


def main() -> None:
    """Answer calls until stdin ends, all on one event loop: the connection pool belongs to it."""
    with asyncio.Runner() as runner:
        runner.run(open_app())
        answer_calls({"open": os.getpid, "submit": lambda key: runner.run(submit(key))})
        runner.run(app.close_async())


if __name__ == "__main__":
    main()
