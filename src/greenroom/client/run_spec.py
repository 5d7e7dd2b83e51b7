"""Defines what to run for a task: the command, its directory and environment, its files, and who gets its output."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from greenroom.domain.ids import USER
from greenroom.wire.replies import ClaimedTask


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to run for a task.

    `env` is the whole environment, `receiver` the receiver of the output, `folder` this run's own. `result` is the
    format in which the command prints its result, if it does. `began_at` is set for a run that an earlier process
    began: when it did, by the wall clock; its command, directory and environment are then not used. A run with
    `ends_with_parent` ends with this process, however that ends; any other can be continued by the next process.
    `is_empty_failure`: a run that ends with 0 and has no result has failed.
    """

    command: tuple[str, ...]
    cwd: Path
    env: dict[str, str]
    receiver: str
    folder: Path
    timeout_s: float | None = None
    result: str | None = None
    ends_with_parent: bool = False
    began_at: float | None = None
    is_empty_failure: bool = False

    @property
    def stdout(self) -> Path:
        return self.folder / "stdout"

    @property
    def stderr(self) -> Path:
        return self.folder / "stderr"

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    @property
    def result_file(self) -> Path:
        return self.folder / "result.json"


def default_receiver(roles: Sequence[str], role: str) -> str:
    """Return the default receiver of a role's output: the next role in the room's order, else the user."""
    place = list(roles).index(role) + 1
    return roles[place] if place < len(roles) else USER


def task_environment(url: str, room: str, role: str, task: ClaimedTask, connection_id: str) -> dict[str, str]:
    """Return the variables for a task's process: the server, the room and role, the task, and this attempt's token."""
    return {
        "GREENROOM_URL": url,
        "GREENROOM_ROOM": room,
        "GREENROOM_ROLE": role,
        "GREENROOM_TOKEN": task.token,
        **run_marks(task.id, task.attempt, connection_id),
    }


def run_marks(task: str, attempt: int, connection_id: str) -> dict[str, str]:
    """Return the variables that identify every process of one run, wherever it moved."""
    return {"GREENROOM_TASK": task, "GREENROOM_ATTEMPT": str(attempt), "GREENROOM_CONNECTION": connection_id}
