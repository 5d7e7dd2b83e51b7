"""The Celery app, shared by worker and client, with a task that does nothing."""

import os
import time

import celery  # type: ignore[import-not-found, unused-ignore]

app = celery.Celery("peers", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BROKER"])


def began_at() -> float:
    """The task: return when it began, by the monotonic clock that all processes of a machine share."""
    return time.monotonic()


acks_late = app.task(began_at, name="acks_late", acks_late=True)
"""Taken off the queue when it is done: a worker that is killed meanwhile does not lose it."""
acks_early = app.task(began_at, name="acks_early", acks_late=False)
"""Celery's default: taken off the queue before it begins."""
