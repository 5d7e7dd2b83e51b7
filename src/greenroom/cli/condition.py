"""How a role stands, in the few words that fit a table, and the command that helps. Must not know tables or the server.

What is said here goes by the state that the server tells; nothing is judged once more.
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
"""States that should be over by `status_until`."""
AFTERWARDS = {BACKING_OFF: "runs again in", PARKED: "on trial in", PAUSED: "runs again in"}
"""What comes after a rest."""


QUEUES = "it begins when a request before it is over"
"""Of a task that is queued."""


def spell(role: RoleView, now: float) -> str:
    """The state of a role, with a countdown where it has an end. `now` is a reading of the wall clock."""
    left_s = seconds_to(role.status_until, now) if role.status_until else None
    if role.status in PASSING and left_s is not None:
        how = f"late by {duration(-left_s)}" if left_s < 0 else f"{duration(left_s)} left"
        return f"{role.status}, {how}"
    if role.status in AFTERWARDS:
        when = f"{AFTERWARDS[role.status]} {duration(left_s)}" if left_s is not None else "until a person restarts it"
        return f"{role.status}, {when}"
    return role.status if left_s is None else f"{role.status}, {duration(left_s)} left"


def is_late(role: RoleView, now: float) -> bool:
    """Tell whether a role is in a state that should be over by now."""
    return role.status in PASSING and role.status_until is not None and seconds_to(role.status_until, now) < 0


def advice(room: str, is_open: bool, role: RoleView, task: str | None, now: float) -> str:
    """What to do next about a role in its state, with the command. `task` is one that is open for it."""
    seat = f"{room}/{role.name}"
    if not is_open:
        return "nothing is done in a closed room; open another: greenroom room create NAME --roles A,B"
    at_once = f"to have it run at once: greenroom agent restart {seat}"
    if role.status in (PARKED, PAUSED) and role.status_until is None:
        return f"once that is mended: greenroom agent restart {seat}"
    if is_late(role, now):
        return f"on machine {role.machine}: greenroom doctor"
    found = {
        PARKED: f"mend what is wrong; it gets one run on trial by itself; {at_once}",
        PAUSED: f"nothing, it goes on by itself; {at_once}",
        BACKING_OFF: f"it is run again by itself; what lasts, mend on machine {role.machine}; {at_once}",
        STOPPED: f"to have it run: greenroom agent start {seat}",
        OFFLINE: f"on machine {role.machine}: greenroom daemon start",
        UNKNOWN: "wait for its machine's next beat, and look whether it comes: greenroom machine list",
        STARTING: "watch it come: greenroom status --watch",
        STOPPING: "watch it leave: greenroom status --watch",
        WORKING: f"see what it works on: greenroom task show {task}" if task else "watch it: greenroom status --watch",
        WAITING: f"give it work: greenroom send {room} TEXT --to {role.name}",
    }
    if role.status == VACANT and role.kind == CUSTOM:
        return f"sit down there: greenroom wait-for-task {room} --role {role.name}"
    if role.status == VACANT and role.kind == REMOTE:
        return f"choose who runs it: greenroom agent set {seat} --machine M --harness H"
    return found.get(role.status, "look at the whole house: greenroom status")


def advice_on_queue(room: str) -> str:
    """How to have a request begin beside those before it."""
    return f"to have more done at a time: greenroom room change {room} --max-requests N"
