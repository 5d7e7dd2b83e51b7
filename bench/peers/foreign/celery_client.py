"""Submits tasks to Celery and gets their results, as an application would."""

import time
from collections import deque
from typing import Any, Final

from bench.peers.foreign import celery_tasks
from bench.peers.foreign.call_loop import answer_calls

PATIENCE_S: Final = 30.0
TASKS: Final[dict[str, Any]] = {"late": celery_tasks.acks_late, "early": celery_tasks.acks_early}


def rate(kind: str, seconds: str, in_flight: str) -> float:
    """Tasks per second, from `delay` to `get`; a further one is submitted when the oldest result arrives."""
    task, limit = TASKS[kind], int(in_flight)
    waiting: deque[Any] = deque()
    count = 0
    started_at = time.monotonic()
    while time.monotonic() < started_at + float(seconds):
        waiting.append(task.delay())
        if len(waiting) == limit:
            waiting.popleft().get(timeout=PATIENCE_S)
            count += 1
    for result in waiting:
        result.get(timeout=PATIENCE_S)
    return (count + len(waiting)) / (time.monotonic() - started_at)


def flood(kind: str, count: str) -> float:
    """Tasks per second when all are submitted before the first result is asked for."""
    task = TASKS[kind]
    started_at = time.monotonic()
    results = [task.delay() for _ in range(int(count))]
    for result in results:
        result.get(timeout=PATIENCE_S)
    return len(results) / (time.monotonic() - started_at)


def dispatches(kind: str, seconds: str, pause_s: str) -> list[tuple[float, float]]:
    """For one task after another: seconds from submitting it until it began, and until its result arrived."""
    task = TASKS[kind]
    taken = []
    ends_at = time.monotonic() + float(seconds)
    while time.monotonic() < ends_at:
        time.sleep(float(pause_s))
        sent_at = time.monotonic()
        began_at = task.delay().get(timeout=PATIENCE_S)
        taken.append((began_at - sent_at, time.monotonic() - sent_at))
    return taken


if __name__ == "__main__":
    answer_calls({"rate": rate, "flood": flood, "dispatches": dispatches})
