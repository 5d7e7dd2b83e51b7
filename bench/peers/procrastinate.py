"""Runs Procrastinate on PostgreSQL: a worker and a client."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from bench.peers import installation, processes
from bench.peers.system import DISPATCH_S, IN_FLIGHT, PAUSE_S, ComparedSystem, Dispatch

APP: Final = "bench.peers.foreign.procrastinate_tasks.app"
CONCURRENCY: Final = 32
WARM_JOBS: Final = 50
JOBS: Final = 500
"""Jobs in each round: a fixed number, because no client is notified when a job has ended."""
NAME: Final = "Procrastinate on PostgreSQL"


@contextmanager
def procrastinate(folder: Path, database: str) -> Iterator[list[ComparedSystem]]:
    """A worker with default settings except for the number of jobs at a time, and a client."""
    home = folder / "procrastinate"
    home.mkdir()
    variables = {"BENCH_DATABASE": database, "BENCH_LISTENER": str(home / "reports")}
    command = [
        installation.peers_python(),
        "-m",
        "procrastinate",
        "--app",
        APP,
        "worker",
        "--concurrency",
        str(CONCURRENCY),
    ]
    with processes.start_client(home, "procrastinate_client", **variables) as client:
        client.call("open")  # creates the tables that the worker needs
        with processes.start_server(home, "worker", command, **variables):
            client.call("rate", WARM_JOBS, 1)

            def dispatches() -> list[Dispatch]:
                return [Dispatch(*taken) for taken in client.call("dispatches", DISPATCH_S, PAUSE_S)]

            yield [ComparedSystem(NAME, partial(client.call, "rate", JOBS, IN_FLIGHT), dispatches)]
