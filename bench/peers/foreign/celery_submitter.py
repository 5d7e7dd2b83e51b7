"""Submits the Celery tasks whose processes will be killed."""

from bench.peers.foreign import celery_mortals
from bench.peers.foreign.answering import answer


def submit(kind: str, key: str) -> None:
    """Submit one task, without waiting for its result."""
    {"late": celery_mortals.late, "rejected": celery_mortals.rejected}[kind].delay(key)


if __name__ == "__main__":
    answer({"submit": submit})
