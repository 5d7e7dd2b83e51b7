"""Submits the Celery tasks whose processes will be killed."""

from bench.peers.foreign import celery_killed_tasks
from bench.peers.foreign.call_loop import answer_calls


def submit(kind: str, key: str) -> None:
    """Submit one task, without waiting for its result."""
    {"late": celery_killed_tasks.late, "rejected": celery_killed_tasks.rejected}[kind].delay(key)


if __name__ == "__main__":
    answer_calls({"submit": submit})
