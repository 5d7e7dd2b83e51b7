"""Celery tasks that are killed while they run, on a Redis that redelivers unacknowledged tasks."""

import os

from bench.peers.foreign.celery_tasks import app
from bench.peers.foreign.killed_task import run_until_killed

app.conf.broker_transport_options = {"visibility_timeout": float(os.environ["BENCH_VISIBILITY_S"])}
listener = os.environ["BENCH_LISTENER"]


def run(key: str) -> None:
    """The task: report its start and run until killed."""
    run_until_killed(key, listener)


late = app.task(run, name="late", acks_late=True)
"""Acknowledged when it is done; by default also when the process that ran it was killed."""
rejected = app.task(run, name="rejected", acks_late=True, reject_on_worker_lost=True)
"""Redelivered when the process that ran it was killed; documented as an option for tasks that may run twice."""
