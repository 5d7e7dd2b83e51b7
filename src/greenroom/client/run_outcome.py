"""Defines how a run of a task ends, and checks whether the task is still the run's own. Makes no request."""

import msgspec

from greenroom.client import command_result
from greenroom.client.command_result import CommandResult
from greenroom.clock import format_instant, parse_instant
from greenroom.domain import task as tasks
from greenroom.domain.limits import Limits
from greenroom.domain.task import Task
from greenroom.process.process_group import ExitStatus

DONE = "done"
SELF_REPORTED = "did_itself"
FAILED = "failed"
OWNERSHIP_LOST = "gone"
STOPPED = "stopped"
PAUSED = "paused"
NOT_STARTED = "not_begun"


class RunOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended: `kind` for programs, `detail` for users.

    `keeps_files`: the files of the run hold more than was sent. `is_empty`: it is done, and its result is empty.
    `until` is when a paused one may continue, as ISO 8601; None if a user has to act first.
    """

    kind: str
    detail: str
    exit: ExitStatus | None = None
    keeps_files: bool = False
    is_empty: bool = False
    until: str | None = None


class OwnershipCheck:
    """One attempt at a task under one connection."""

    def __init__(self, task: Task, connection_id: str) -> None:
        self._attempt = task.attempt
        self._connection_id = connection_id

    def is_owner(self, now: Task) -> bool:
        """Return whether the attempt holds the task, or would hold it again after the holder's next call."""
        fence = (now, self._connection_id, self._attempt)
        return tasks.is_held_by(*fence) or tasks.can_resume(*fence)

    def has_finished(self, now: Task) -> bool:
        """Return whether the attempt itself has handed the task on, or declined it."""
        if tasks.is_completed_by(now, self._connection_id, self._attempt):
            return True
        is_last = now.attempt == self._attempt and now.last_holder == self._connection_id
        return is_last and now.status == tasks.QUARANTINED


def resolve_pause(
    own_result: CommandResult | None, ended: ExitStatus | None, now: float, limits: Limits
) -> RunOutcome | None:
    """Return the pause that a command itself asked for at its end; None if it asked for none.

    A rate limit without a time, or with one that is past, ends after `restart_backoff_s_max`: otherwise the agent would
    meet it again and again without a pause. One that ends after more than `pause_s_max` is for a user: its end may be a
    mistake, and a role that waits for days must not do so unseen.
    """
    if own_result is None or own_result.status not in (command_result.RATE_LIMITED, command_result.LOGIN_REQUIRED):
        return None
    until = None
    if own_result.status == command_result.LOGIN_REQUIRED:
        cause = "A login is needed"
    elif own_result.until is not None and parse_instant(own_result.until) > now + limits.pause_s_max:
        cause = f"It is rate-limited until {own_result.until}, which is too far away to wait for"
    else:
        is_ahead = own_result.until is not None and parse_instant(own_result.until) > now
        until = own_result.until if is_ahead else format_instant(now + limits.restart_backoff_s_max)
        cause = f"It is rate-limited until {until}"
    return RunOutcome(kind=PAUSED, detail=f"{cause}: {own_result.reason}".rstrip(": "), exit=ended, until=until)


def loss_reason(task: Task) -> str:
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
