"""Runs Greenroom as one of the compared systems, with its agents over HTTP."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvloop

from bench import tasks
from bench.errands import Errand
from bench.house import House, house
from bench.peers.contender import DISPATCH_S, IN_FLIGHT, PAUSE_S, RATE_S, Contender, Dispatch

WAIT_S: Final = 25.0
SQLITE: Final = "Greenroom on SQLite"
POSTGRES: Final = "Greenroom on PostgreSQL"


@contextmanager
def greenroom(name: str, database: str | None = None) -> Iterator[list[Contender]]:
    """A server; this process is the load of its agents and users."""
    with house(database) as running:
        load = Load(running)
        yield [Contender(name, lambda: uvloop.run(load.rate()), lambda: uvloop.run(load.dispatches()))]


class Load:
    """New agents for each round, so that none has been silent while other systems were measured."""

    def __init__(self, running: House) -> None:
        self._server = running
        self._rounds = itertools.count()

    async def rate(self) -> float:
        """Measure tasks per second, each opened, claimed and completed."""
        number = next(self._rounds)
        errands = [Errand(self._server, f"round{number}-{worker}") for worker in range(IN_FLIGHT)]
        return await tasks.run(errands, RATE_S)

    async def dispatches(self) -> list[Dispatch]:
        """Measure one task after another for an agent whose claim stands at the server."""
        errand = Errand(self._server, f"round{next(self._rounds)}")
        await errand.connect()
        taken = []
        ends_at = time.perf_counter() + DISPATCH_S
        while time.perf_counter() < ends_at:
            taken.append(await dispatch(errand))
        errand.close()
        return taken


async def dispatch(errand: Errand) -> Dispatch:
    """Let the agent claim, open a task, and wait until the agent has completed it."""
    agent = asyncio.create_task(work(errand))
    await asyncio.sleep(PAUSE_S)
    sent_at = time.perf_counter()
    opened = await errand.open()
    done, begun_at, done_at = await agent
    if done != opened.id:
        raise RuntimeError(f"opened {opened.id}, but {done} was done")
    return Dispatch(begun_at - sent_at, done_at - sent_at)


async def work(errand: Errand) -> tuple[str, float, float]:
    """Claim and complete the next task: its id, when it was claimed, and when its result was recorded."""
    task = await errand.claim(WAIT_S)
    begun_at = time.perf_counter()
    await errand.complete(task)
    return task.id, begun_at, time.perf_counter()
