"""What a run is told of Greenroom, and by which of that its processes are known. Must not know how it is run."""

from collections.abc import Sequence

from greenroom.domain.ids import USER
from greenroom.wire.replies import ClaimedTask


def next_in_line(roles: Sequence[str], role: str) -> str:
    """Who gets a role's output unless somebody says otherwise: the next role in the room's order, at last the user."""
    place = list(roles).index(role) + 1
    return roles[place] if place < len(roles) else USER


def task_environment(url: str, room: str, role: str, task: ClaimedTask, connection_id: str) -> dict[str, str]:
    """What a process run for a task is told of Greenroom: where it is, for what, and this attempt's token alone."""
    return {
        "GREENROOM_URL": url,
        "GREENROOM_ROOM": room,
        "GREENROOM_ROLE": role,
        "GREENROOM_TOKEN": task.token,
        **marks_of(task.id, task.attempt, connection_id),
    }


def marks_of(task: str, attempt: int, connection_id: str) -> dict[str, str]:
    """The part of that by which every process of one run is known, wherever it went."""
    return {"GREENROOM_TASK": task, "GREENROOM_ATTEMPT": str(attempt), "GREENROOM_CONNECTION": connection_id}
