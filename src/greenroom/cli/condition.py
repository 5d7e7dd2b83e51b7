"""Formats a role's status for a table cell, and advises what to do next.

Both follow the status that the server reports; nothing is derived again here.
"""

from greenroom.cli.amounts import duration, seconds_to
from greenroom.domain.role import CUSTOM, REMOTE
from greenroom.domain.status import (
    BACKING_OFF,
    OFFLINE,
    PARKED,
    PAUSED,
    STARTING,
    STOPPED,
    STOPPING,
    UNKNOWN,
    VACANT,
    WAITING,
    WORKING,
)
from greenroom.wire.replies import RoleView

PASSING = (STARTING, STOPPING)
"""Statuses that should have ended by `status_until`."""
AFTERWARDS = {BACKING_OFF: "restarts in", PARKED: "probe run in", PAUSED: "restarts in"}
"""What happens at the end of a restart hold."""

QUEUES = "it starts when an earlier request ends"
"""Explains a task that is queued."""


def spell(role: RoleView, now: float) -> str:
    """Format the status of a role, with a countdown where it has an end. `now` is a reading of the wall clock."""
    left_s = seconds_to(role.status_until, now) if role.status_until else None
    if role.status in PASSING and left_s is not None:
        remaining = f"late by {duration(-left_s)}" if left_s < 0 else f"{duration(left_s)} left"
        return f"{role.status}, {remaining}"
    if role.status in AFTERWARDS:
        when = f"{AFTERWARDS[role.status]} {duration(left_s)}" if left_s is not None else "until a user restarts it"
        return f"{role.status}, {when}"
    return role.status if left_s is None else f"{role.status}, {duration(left_s)} left"


def is_late(role: RoleView, now: float) -> bool:
    """Whether a role has a status that should have ended by now."""
    return role.status in PASSING and role.status_until is not None and seconds_to(role.status_until, now) < 0


def advice(room: str, is_open: bool, role: RoleView, task: str | None, now: float) -> str:
    """What to do next about a role, ending with a command. `task` is the id of the task that it holds, if any."""
    target = f"{room}/{role.name}"
    if not is_open:
        return "the room is closed; create another: greenroom room create NAME --roles A,B"
    at_once = f"to restart it now: greenroom agent restart {target}"
    if role.status in (PARKED, PAUSED) and role.status_until is None:
        return f"fix the cause, then: greenroom agent restart {target}"
    if is_late(role, now):
        return f"on machine {role.machine}: greenroom doctor"
    by_status = {
        PARKED: f"fix the cause; a probe run follows by itself; {at_once}",
        PAUSED: f"nothing, it restarts by itself; {at_once}",
        BACKING_OFF: f"it restarts by itself; if it keeps failing, fix the cause on machine {role.machine}; {at_once}",
        STOPPED: f"to start it: greenroom agent start {target}",
        OFFLINE: f"on machine {role.machine}: greenroom daemon start",
        UNKNOWN: "wait for its machine's next heartbeat; to see whether it came: greenroom machine list",
        STARTING: "to watch it start: greenroom status --watch",
        STOPPING: "to watch it stop: greenroom status --watch",
        WORKING: f"to see its task: greenroom task show {task}" if task else "to watch it: greenroom status --watch",
        WAITING: f"to give it work: greenroom send {room} TEXT --to {role.name}",
    }
    if role.status == VACANT and role.kind == CUSTOM:
        return f"to join as its agent: greenroom wait-for-task {room} --role {role.name}"
    if role.status == VACANT and role.kind == REMOTE:
        return f"choose its machine and harness: greenroom agent set {target} --machine M --harness H"
    return by_status.get(role.status, "to see everything: greenroom status")


def advice_on_queue(room: str) -> str:
    """How to let a queued request start beside the earlier ones."""
    return f"to run more requests at once: greenroom room change {room} --max-requests N"
