"""Submits tasks to Celery whose processes will be killed. Must not know how or when."""

from bench.peers.foreign import celery_mortals
from bench.peers.foreign.answering import answer


def submit(kind: str, key: str) -> None:
    """One task, and nobody waits for its result."""
    {"late": celery_mortals.late, "rejected": celery_mortals.rejected}[kind].delay(key)


if __name__ == "__main__":
    answer({"submit": submit})
