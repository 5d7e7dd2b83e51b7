"""The Procrastinate app, shared by worker and client, with two jobs that do nothing."""

import os
import socket
import time

import procrastinate  # type: ignore[import-not-found, unused-ignore]

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["BENCH_DATABASE"]))
report_address = os.environ["BENCH_LISTENER"]
"""Path of a datagram socket for reports: a job has no result that its client could read."""
report_socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


async def do_nothing() -> None:
    """The job: nothing."""


async def report_start() -> None:
    """Report when it began, by the clock that all processes share; a datagram takes a few microseconds."""
    report_socket.sendto(repr(time.monotonic()).encode(), report_address)


noop_job = app.task(do_nothing, name="nothing")
reporting_job = app.task(report_start, name="telling")
