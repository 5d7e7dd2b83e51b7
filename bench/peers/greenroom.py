"""Runs Greenroom as one of the compared systems, with its agents over HTTP."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvloop

from bench import tasks
from bench.peers.system import DISPATCH_S, IN_FLIGHT, PAUSE_S, RATE_S, ComparedSystem, Dispatch
from bench.server_process import RunningServer, run_server
from bench.task_client import TaskClient

WAIT_S: Final = 25.0
SQLITE: Final = "Greenroom on SQLite"
POSTGRES: Final = "Greenroom on PostgreSQL"


@contextmanager
def greenroom(name: str, database: str | None = None) -> Iterator[list[ComparedSystem]]:
    """A server; this process is the load of its agents and users."""
    with run_server(database) as running:
        load = GreenroomLoad(running)
        yield [ComparedSystem(name, lambda: uvloop.run(load.rate()), lambda: uvloop.run(load.dispatches()))]


class GreenroomLoad:
    """New agents for each round, so that none has been silent while other systems were measured."""

    def __init__(self, running: RunningServer) -> None:
        self._server = running
        self._rounds = itertools.count()

    async def rate(self) -> float:
        """Measure tasks per second, each opened, claimed and completed."""
        number = next(self._rounds)
        errands = [TaskClient(self._server, f"round{number}-{worker}") for worker in range(IN_FLIGHT)]
        return await tasks.run_workers(errands, RATE_S)

    async def dispatches(self) -> list[Dispatch]:
        """Measure one task after another for an agent whose claim stands at the server."""
        errand = TaskClient(self._server, f"round{next(self._rounds)}")
        await errand.connect()
        taken = []
        ends_at = time.perf_counter() + DISPATCH_S
        while time.perf_counter() < ends_at:
            taken.append(await measure_dispatch(errand))
        errand.close()
        return taken


async def measure_dispatch(errand: TaskClient) -> Dispatch:
    """Let the agent claim, open a task, and wait until the agent has completed it."""
    agent = asyncio.create_task(do_next_task(errand))
    await asyncio.sleep(PAUSE_S)
    sent_at = time.perf_counter()
    opened = await errand.open_task()
    done, begun_at, done_at = await agent
    if done != opened.id:
        raise RuntimeError(f"opened {opened.id}, but {done} was done")
    return Dispatch(begun_at - sent_at, done_at - sent_at)


async def do_next_task(errand: TaskClient) -> tuple[str, float, float]:
    """Claim and complete the next task: its id, when it was claimed, and when its result was recorded."""
    task = await errand.claim(WAIT_S)
    begun_at = time.perf_counter()
    await errand.complete(task)
    return task.id, begun_at, time.perf_counter()
