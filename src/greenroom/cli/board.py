"""Turns an overview into tables: alerts, machines, roles and tasks."""

from collections import Counter

from greenroom.cli.amounts import duration
from greenroom.cli.condition import spell
from greenroom.cli.output import clock_time, first_line
from greenroom.cli.overview import UNREACHABLE, Overview, ServerView
from greenroom.cli.table import Table
from greenroom.clock import seconds_of
from greenroom.domain.task import BACKLOG, Task
from greenroom.wire.replies import MachineView, RoleView, RoomView

ROLE_HEADS = ("ROLE", "STATUS", "SEEN", "KIND", "MACHINE", "WHY")
TASK_HEADS = ("TASK", "ROLE", "STATUS", "ATTEMPT", "FAILURES", "TEXT")
NO_ROOM = "No open rooms. Create one: greenroom room create NAME --roles A,B"
MACHINE_HEADS = ("MACHINE", "ID", "STATUS", "SEEN", "HARNESSES", "LABELS", "AGENTS")
WORDS_CHARACTERS = 160
NEED_CHARACTERS = 300
"""An alert may be longer than other texts: what a user can do stands at its end."""
NAMES_SHOWN = 4
"""At most so many of a machine's harnesses, labels and agents are named in `status`; `machine list` names all."""


def headlines(overview: Overview, now: float) -> list[str]:
    """A line about the server, and a hint where there is no open room. `now` is a reading of the wall clock."""
    line = headline(overview.server, now)
    return [line] if overview.rooms or overview.server.status == UNREACHABLE else [line, NO_ROOM]


def headline(server: ServerView, now: float) -> str:
    if server.status == UNREACHABLE:
        since = f"since {clock_time(server.since)}"
        if server.since is not None:
            since += f", {duration(now - seconds_of(server.since))} ago"
        return f"server {server.url}: unreachable {since}; below is its last known state"
    if server.late:
        return f"server {server.url}: late background loops: {', '.join(server.late)}"
    return f"server {server.url}: ok"


def tables_of(overview: Overview, now: float) -> list[Table]:
    """All tables of an overview: what needs the user, the machines, then each room with its roles and open tasks."""
    tables = []
    if overview.needs:
        rows = [(need.where, first_line(need.detail, NEED_CHARACTERS), need.next) for need in overview.needs]
        tables.append(Table("Needs you", ("WHERE", "WHAT", "NEXT"), rows))
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
    return Table(title, ROLE_HEADS, rows, spare=("KIND", "SEEN"))


def role_row(role: RoleView, now: float, machine_names: dict[str, str]) -> tuple[str, ...]:
    seen = clock_time(role.last_seen_at)
    machine = machine_names.get(role.machine, role.machine) if role.machine else "-"
    return (
        role.name,
        spell(role, now),
        seen,
        role.kind,
        machine,
        first_line(role.status_reason or "", WORDS_CHARACTERS),
    )


def tasks_table(title: str, tasks: tuple[Task, ...] | list[Task]) -> Table:
    return Table(title, TASK_HEADS, [task_row(task) for task in tasks], spare=("FAILURES", "ATTEMPT"))


def task_row(task: Task) -> tuple[str, ...]:
    return (task.id, task.target_role, task.status, str(task.attempt), str(task.deaths), first_line(task.text, 60))


def machines_table(machines: tuple[MachineView, ...] | list[MachineView], names_shown: int | None = None) -> Table:
    """A table of machines. At most `names_shown` harnesses, labels and agents of each are named, others counted."""
    rows = [machine_row(machine, names_shown) for machine in machines]
    return Table("Machines", MACHINE_HEADS, rows, spare=("ID", "LABELS", "SEEN"))


def machine_row(machine: MachineView, names_shown: int | None) -> tuple[str, ...]:
    status = "connected" if machine.daemon_connected else "not connected"
    labels = [f"{name}={value}" if value else name for name, value in sorted(machine.labels.items())]
    return (
        machine.name,
        machine.id,
        status,
        clock_time(machine.last_seen_at),
        some_of(list(machine.harnesses), names_shown),
        some_of(labels, names_shown),
        agents_of(machine, names_shown),
    )


def agents_of(machine: MachineView, shown: int | None) -> str:
    """The agents that should run on a machine, by name and status; more than `shown` are counted by status."""
    if shown is None or len(machine.agents) <= shown:
        return ", ".join(f"{agent.room}/{agent.role}: {agent.status}" for agent in machine.agents) or "-"
    counted = Counter(agent.status for agent in machine.agents)
    return f"{len(machine.agents)}: " + ", ".join(f"{count} {status}" for status, count in counted.most_common())


def some_of(names: list[str], shown: int | None) -> str:
    """The first `shown` names, and how many more there are."""
    if shown is None or len(names) <= shown:
        return ", ".join(names) or "-"
    return f"{', '.join(names[:shown])} and {len(names) - shown} more"
