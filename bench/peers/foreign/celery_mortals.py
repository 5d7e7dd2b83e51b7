"""Tasks of Celery that are killed in the middle, on a Redis that hands out again what nobody acknowledges."""

import os

from bench.peers.foreign.celery_tasks import app
from bench.peers.foreign.mortal import live

app.conf.broker_transport_options = {"visibility_timeout": float(os.environ["BENCH_VISIBILITY_S"])}
listener = os.environ["BENCH_LISTENER"]


def run(key: str) -> None:
    """The whole task."""
    live(key, listener)


late = app.task(run, name="late", acks_late=True)
"""Acknowledged when it is done; but also, as it comes, when the process that ran it was killed."""
rejected = app.task(run, name="rejected", acks_late=True, reject_on_worker_lost=True)
"""Given back when the process that ran it was killed, which the documents leave to those whose tasks may run twice."""
