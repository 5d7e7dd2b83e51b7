"""What Procrastinate's worker and its client share: the app, and tasks that do nothing. Must not know what is timed."""

import os
import socket
import time

import procrastinate  # type: ignore[import-not-found, unused-ignore]

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["BENCH_DATABASE"]))
listener = os.environ["BENCH_LISTENER"]
"""A datagram socket in the file system: a job has no result that its client could read."""
teller = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


async def do_nothing() -> None:
    """The whole job."""


async def tell() -> None:
    """Say when it began, by the clock that all processes of a machine share; a datagram takes a few microseconds."""
    teller.sendto(repr(time.monotonic()).encode(), listener)


nothing = app.task(do_nothing, name="nothing")
telling = app.task(tell, name="telling")
