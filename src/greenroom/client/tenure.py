"""Checks whether a task is still a run's own, was completed by the run, or is lost to it. Makes no request."""

from greenroom.domain import task as tasks
from greenroom.domain.task import Task


class Tenure:
    """One attempt at a task under one connection."""

    def __init__(self, task: Task, connection_id: str) -> None:
        self._attempt = task.attempt
        self._connection_id = connection_id

    def lasts(self, now: Task) -> bool:
        """Return whether the attempt holds the task, or would hold it again after the holder's next call."""
        fence = (now, self._connection_id, self._attempt)
        return tasks.is_held_by(*fence) or tasks.can_resume(*fence)

    def is_settled(self, now: Task) -> bool:
        """Return whether the attempt itself has handed the task on, or declined it."""
        if tasks.is_completed_by(now, self._connection_id, self._attempt):
            return True
        is_last = now.attempt == self._attempt and now.last_holder == self._connection_id
        return is_last and now.status == tasks.QUARANTINED


def why_gone(task: Task) -> str:
    """Return, for users, why a task is no longer the run's."""
    because = f" ({task.reason})" if task.reason else ""
    if task.status == tasks.CLOSED:
        return f"The task was cancelled{because}."
    if task.status == tasks.QUARANTINED:
        return f"The task was quarantined{because}."
    if task.status == tasks.BACKLOG:
        return f"The task was moved to the backlog{because}."
    if task.status in (tasks.COMPLETED, tasks.PENDING_REVIEW):
        return f"The task is over: the result of attempt {task.accepted_attempt} was accepted."
    if task.status == tasks.PENDING:
        return f"The task was released: {task.released_cause or 'no cause known'}{because}."
    return f"Another attempt has the task: {task.status}, attempt {task.attempt}."
