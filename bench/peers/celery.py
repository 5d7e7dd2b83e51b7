"""Runs Celery on Redis: a worker of two processes and a client."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from bench.peers import place, processes
from bench.peers.contender import DISPATCH_S, IN_FLIGHT, PAUSE_S, RATE_S, Contender, Dispatch
from bench.peers.processes import Client
from bench.peers.redis import FSYNC_ALWAYS, redis

APP: Final = "bench.peers.foreign.celery_tasks"
WORKER_PROCESSES: Final = 2
WARM_TASKS: Final = 50
FLOOD_TASKS: Final = 1000
LATE: Final = "Celery + Redis, acks late"
EARLY: Final = "Celery + Redis, acks early"
FLOOD: Final = f"Celery + Redis, acks late, {FLOOD_TASKS:,} submitted before the first result is asked for"
DURABLE: Final = "Celery + Redis with appendfsync always, acks late"


@contextmanager
def celery(folder: Path) -> Iterator[list[Contender]]:
    """Celery on a Redis with default settings, which flushes nothing to the disk before it answers."""
    with redis(folder, "redis") as url, working(folder, "celery", url) as client:
        flood = Contender(FLOOD, partial(client.ask, "flood", "late", FLOOD_TASKS))
        yield [contender(LATE, client, "late"), contender(EARLY, client, "early"), flood]


@contextmanager
def durable_celery(folder: Path) -> Iterator[list[Contender]]:
    """Celery on a Redis that flushes every write to the disk before it answers."""
    with redis(folder, "durable-redis", **FSYNC_ALWAYS) as url, working(folder, "durable-celery", url) as client:
        yield [contender(DURABLE, client, "late")]


@contextmanager
def working(folder: Path, name: str, url: str) -> Iterator[Client]:
    """A client, after its worker has done some tasks."""
    home = folder / name
    home.mkdir()
    command = [place.python(), "-m", "celery", "--app", APP, "worker", "--concurrency", str(WORKER_PROCESSES)]
    command += ["--pool", "prefork", "--loglevel", "ERROR"]
    variables = {"BENCH_BROKER": url}
    with (
        processes.server(home, "worker", command, **variables),
        processes.client(home, "celery_client", **variables) as client,
    ):
        client.ask("flood", "late", WARM_TASKS)
        yield client


def contender(name: str, client: Client, kind: str) -> Contender:
    """Celery with one way of acknowledging tasks."""

    def dispatches() -> list[Dispatch]:
        return [Dispatch(*taken) for taken in client.ask("dispatches", kind, DISPATCH_S, PAUSE_S)]

    return Contender(name, partial(client.ask, "rate", kind, RATE_S, IN_FLIGHT), dispatches)
