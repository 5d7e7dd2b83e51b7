"""Turns an overview into tables (alerts, machines, roles and tasks), and advises what to do next about a role.

A role's status is formatted as the server reports it; nothing is derived again here.
"""

from collections import Counter

from greenroom.cli.alerts import alerts_table
from greenroom.cli.display_text import first_line
from greenroom.cli.overview import UNREACHABLE, Overview, ServerView
from greenroom.cli.table import Table
from greenroom.cli.terminal import format_clock_time, format_duration, seconds_until
from greenroom.clock import parse_instant
from greenroom.domain.role import CUSTOM, REMOTE
from greenroom.domain.role_status import (
    BACKING_OFF,
    CRASH_LOOPING,
    OFFLINE,
    PAUSED,
    STARTING,
    STOPPED,
    STOPPING,
    UNKNOWN,
    VACANT,
    WAITING,
    WORKING,
)
from greenroom.domain.task import BACKLOG, Task
from greenroom.wire.replies import MachineView, RoleView, RoomView

ROLE_HEADS = ("ROLE", "STATUS", "SEEN", "KIND", "MACHINE", "WHY")
TASK_HEADS = ("TASK", "ROLE", "STATUS", "ATTEMPT", "FAILURES", "TEXT")
NO_OPEN_ROOMS = "No open rooms. Create one: greenroom room create NAME --roles A,B"
MACHINE_HEADS = ("MACHINE", "ID", "STATUS", "SEEN", "HARNESSES", "LABELS", "AGENTS")
REASON_CHARACTERS = 160
NAMES_SHOWN = 4
"""At most so many of a machine's harnesses, labels and agents are named in `status`; `machine list` names all."""

TRANSIENT_STATUSES = (STARTING, STOPPING)
"""Statuses that should have ended by `status_until`."""
HOLD_END_TEXTS = {BACKING_OFF: "restarts in", CRASH_LOOPING: "probe run in", PAUSED: "restarts in"}
"""What happens at the end of a restart hold."""

QUEUED_REASON = "it starts when an earlier request ends"
"""Explains a task that is queued."""


def headlines(overview: Overview, now: float) -> list[str]:
    """A line about the server, and a hint where there is no open room. `now` is a reading of the wall clock."""
    line = headline(overview.server, now)
    return [line] if overview.rooms or overview.server.status == UNREACHABLE else [line, NO_OPEN_ROOMS]


def headline(server: ServerView, now: float) -> str:
    if server.status == UNREACHABLE:
        since = f"since {format_clock_time(server.since)}"
        if server.since is not None:
            since += f", {format_duration(now - parse_instant(server.since))} ago"
        return f"server {server.url}: unreachable {since}; below is its last known state"
    if server.late:
        return f"server {server.url}: late background loops: {', '.join(server.late)}"
    return f"server {server.url}: ok"


def overview_tables(overview: Overview, now: float) -> list[Table]:
    """All tables of an overview: what needs the user, the machines, then each room with its roles and open tasks."""
    tables = []
    if overview.needs:
        tables.append(alerts_table(overview.needs))
    if overview.machines:
        tables.append(machines_table(overview.machines, NAMES_SHOWN))
    names = {machine.id: machine.name for machine in overview.machines}
    for room in overview.rooms:
        tables.append(roles_table(room, now, names))
        under_way = [task for task in room.tasks if task.status != BACKLOG]
        if under_way:
            tables.append(tasks_table(f"Open tasks of {room.name}", under_way))
    return tables


def roles_table(room: RoomView, now: float, machine_names: dict[str, str] | None = None) -> Table:
    title = f"Room {room.name}" + ("" if room.status == "open" else f" ({room.status})")
    if count := sum(task.status == BACKLOG for task in room.tasks):
        title += f", {count} in the backlog: greenroom backlog list {room.name}"
    rows = [role_row(role, now, machine_names or {}) for role in room.roles]
    return Table(title, ROLE_HEADS, rows, optional_columns=("KIND", "SEEN"))


def role_row(role: RoleView, now: float, machine_names: dict[str, str]) -> tuple[str, ...]:
    seen = format_clock_time(role.last_seen_at)
    machine = machine_names.get(role.machine, role.machine) if role.machine else "-"
    return (
        role.name,
        format_status(role, now),
        seen,
        role.kind,
        machine,
        first_line(role.status_reason or "", REASON_CHARACTERS),
    )


def tasks_table(title: str, tasks: tuple[Task, ...] | list[Task]) -> Table:
    return Table(title, TASK_HEADS, [task_row(task) for task in tasks], optional_columns=("FAILURES", "ATTEMPT"))


def task_row(task: Task) -> tuple[str, ...]:
    return (task.id, task.target_role, task.status, str(task.attempt), str(task.failures), first_line(task.text, 60))


def machines_table(machines: tuple[MachineView, ...] | list[MachineView], names_shown: int | None = None) -> Table:
    """A table of machines. At most `names_shown` harnesses, labels and agents of each are named, others counted."""
    rows = [machine_row(machine, names_shown) for machine in machines]
    return Table("Machines", MACHINE_HEADS, rows, optional_columns=("ID", "LABELS", "SEEN"))


def machine_row(machine: MachineView, names_shown: int | None) -> tuple[str, ...]:
    status = "connected" if machine.daemon_connected else "not connected"
    labels = [f"{name}={value}" if value else name for name, value in sorted(machine.labels.items())]
    return (
        machine.name,
        machine.id,
        status,
        format_clock_time(machine.last_seen_at),
        format_names(list(machine.harnesses), names_shown),
        format_names(labels, names_shown),
        format_agents(machine, names_shown),
    )


def format_agents(machine: MachineView, names_shown: int | None) -> str:
    """The agents that should run on a machine, by name and status; more than `names_shown` are counted by status."""
    if names_shown is None or len(machine.agents) <= names_shown:
        return ", ".join(f"{agent.room}/{agent.role}: {agent.status}" for agent in machine.agents) or "-"
    counted = Counter(agent.status for agent in machine.agents)
    return f"{len(machine.agents)}: " + ", ".join(f"{count} {status}" for status, count in counted.most_common())


def format_names(names: list[str], names_shown: int | None) -> str:
    """The first `names_shown` names, and how many more there are."""
    if names_shown is None or len(names) <= names_shown:
        return ", ".join(names) or "-"
    return f"{', '.join(names[:names_shown])} and {len(names) - names_shown} more"


def format_status(role: RoleView, now: float) -> str:
    """Format the status of a role, with a countdown where it has an end. `now` is a reading of the wall clock."""
    left_s = seconds_until(role.status_until, now) if role.status_until else None
    if role.status in TRANSIENT_STATUSES and left_s is not None:
        remaining = f"late by {format_duration(-left_s)}" if left_s < 0 else f"{format_duration(left_s)} left"
        return f"{role.status}, {remaining}"
    if role.status in HOLD_END_TEXTS:
        when = (
            f"{HOLD_END_TEXTS[role.status]} {format_duration(left_s)}"
            if left_s is not None
            else "until a user restarts it"
        )
        return f"{role.status}, {when}"
    return role.status if left_s is None else f"{role.status}, {format_duration(left_s)} left"


def is_late(role: RoleView, now: float) -> bool:
    """Whether a role has a status that should have ended by now."""
    return (
        role.status in TRANSIENT_STATUSES
        and role.status_until is not None
        and seconds_until(role.status_until, now) < 0
    )


def advise(room: str, is_open: bool, role: RoleView, task: str | None, now: float) -> str:
    """What to do next about a role, ending with a command. `task` is the id of the task that it holds, if any."""
    target = f"{room}/{role.name}"
    if not is_open:
        return "the room is closed; create another: greenroom room create NAME --roles A,B"
    at_once = f"to restart it now: greenroom agent restart {target}"
    if role.status in (CRASH_LOOPING, PAUSED) and role.status_until is None:
        return f"fix the cause, then: greenroom agent restart {target}"
    if is_late(role, now):
        return f"on machine {role.machine}: greenroom doctor"
    by_status = {
        CRASH_LOOPING: f"fix the cause; a probe run follows by itself; {at_once}",
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


def advise_on_queue(room: str) -> str:
    """How to let a queued request start beside the earlier ones."""
    return f"to run more requests at once: greenroom room change {room} --max-requests N"
