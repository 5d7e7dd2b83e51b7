"""Knows how many requests a room works on at a time. Must not know tables or transactions."""

from greenroom.domain import task


def opening_state(occupying: int, max_requests: int) -> str:
    """The state of a new request's first task, given how many tasks are pending, acknowledged or in progress."""
    return task.QUEUED if occupying >= max_requests else task.PENDING


def free_places(occupying: int, max_requests: int) -> int:
    """How many queued tasks may be promoted now."""
    return max(0, max_requests - occupying)
