"""Builds the environment of a run, and finds the role that gets a role's output."""

from collections.abc import Sequence

from greenroom.domain.ids import USER
from greenroom.wire.replies import ClaimedTask


def next_in_line(roles: Sequence[str], role: str) -> str:
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
        **marks_of(task.id, task.attempt, connection_id),
    }


def marks_of(task: str, attempt: int, connection_id: str) -> dict[str, str]:
    """Return the variables that identify every process of one run, wherever it moved."""
    return {"GREENROOM_TASK": task, "GREENROOM_ATTEMPT": str(attempt), "GREENROOM_CONNECTION": connection_id}
