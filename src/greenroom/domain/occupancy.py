"""Limits how many requests a room works on at a time (`max_requests`)."""

from greenroom.domain import task


def opening_state(occupying: int, max_requests: int) -> str:
    """Return the state of a new request's first task; `occupying` counts pending, acknowledged and started tasks."""
    return task.QUEUED if occupying >= max_requests else task.PENDING


def free_places(occupying: int, max_requests: int) -> int:
    """Return how many queued tasks may be promoted now."""
    return max(0, max_requests - occupying)
