"""Runs Celery on Redis: a worker of two processes and a client."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from bench.peers import installation, processes
from bench.peers.processes import PeerClient
from bench.peers.redis import FSYNC_ALWAYS, redis
from bench.peers.system import DISPATCH_S, IN_FLIGHT, PAUSE_S, RATE_S, ComparedSystem, Dispatch

APP: Final = "bench.peers.foreign.celery_tasks"
WORKER_PROCESSES: Final = 2
WARM_TASKS: Final = 50
FLOOD_TASKS: Final = 1000
LATE: Final = "Celery + Redis, acks late"
EARLY: Final = "Celery + Redis, acks early"
FLOOD: Final = f"Celery + Redis, acks late, {FLOOD_TASKS:,} submitted before the first result is asked for"
DURABLE: Final = "Celery + Redis with appendfsync always, acks late"


@contextmanager
def celery(folder: Path) -> Iterator[list[ComparedSystem]]:
    """Celery on a Redis with default settings, which flushes nothing to the disk before it answers."""
    with redis(folder, "redis") as url, start_worker(folder, "celery", url) as client:
        flood = ComparedSystem(FLOOD, partial(client.call, "flood", "late", FLOOD_TASKS))
        yield [make_system(LATE, client, "late"), make_system(EARLY, client, "early"), flood]


@contextmanager
def durable_celery(folder: Path) -> Iterator[list[ComparedSystem]]:
    """Celery on a Redis that flushes every write to the disk before it answers."""
    with redis(folder, "durable-redis", **FSYNC_ALWAYS) as url, start_worker(folder, "durable-celery", url) as client:
        yield [make_system(DURABLE, client, "late")]


@contextmanager
def start_worker(folder: Path, name: str, url: str) -> Iterator[PeerClient]:
    """A client, after its worker has done some tasks."""
    home = folder / name
    home.mkdir()
    command = [
        installation.peers_python(),
        "-m",
        "celery",
        "--app",
        APP,
        "worker",
        "--concurrency",
        str(WORKER_PROCESSES),
    ]
    command += ["--pool", "prefork", "--loglevel", "ERROR"]
    variables = {"BENCH_BROKER": url}
    with (
        processes.start_server(home, "worker", command, **variables),
        processes.start_client(home, "celery_client", **variables) as client,
    ):
        client.call("flood", "late", WARM_TASKS)
        yield client


def make_system(name: str, client: PeerClient, kind: str) -> ComparedSystem:
    """Celery with one way of acknowledging tasks."""

    def dispatches() -> list[Dispatch]:
        return [Dispatch(*taken) for taken in client.call("dispatches", kind, DISPATCH_S, PAUSE_S)]

    return ComparedSystem(name, partial(client.call, "rate", kind, RATE_S, IN_FLIGHT), dispatches)
