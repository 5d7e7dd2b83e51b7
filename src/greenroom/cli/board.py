"""The overview as tables. Knows which columns people look for; must not know where they are drawn."""

from greenroom.cli.output import clock_time, first_line
from greenroom.cli.overview import UNREACHABLE, Overview, ServerView
from greenroom.cli.table import Table
from greenroom.domain.task import BACKLOG, Task
from greenroom.wire.replies import MachineView, RoleView, RoomView

ROLE_HEADS = ("ROLE", "STATUS", "SEEN", "KIND", "MACHINE", "WHY")
TASK_HEADS = ("TASK", "ROLE", "STATUS", "ATTEMPT", "DEATHS", "TEXT")
NO_ROOM = "No room is open yet. Open one: greenroom room create NAME --roles A,B"
MACHINE_HEADS = ("MACHINE", "ID", "STATUS", "SEEN", "HARNESSES", "AGENTS")


def headlines(overview: Overview) -> list[str]:
    """A line about the server itself, and what to begin with where there is nothing yet."""
    line = headline(overview.server)
    return [line] if overview.rooms or overview.server.status == UNREACHABLE else [line, NO_ROOM]


def headline(server: ServerView) -> str:
    if server.status == UNREACHABLE:
        return f"server {server.url}: not reachable since {clock_time(server.since)}; what follows was true before"
    if server.late:
        return f"server {server.url}: late: {', '.join(server.late)}"
    return f"server {server.url}: ok"


def tables_of(overview: Overview) -> list[Table]:
    """Everything there is to show, what needs a person first."""
    tables = []
    if overview.needs:
        rows = [(need.where, first_line(need.detail, 120), need.next) for need in overview.needs]
        tables.append(Table("Needs a person", ("WHERE", "WHAT", "NEXT"), rows))
    for room in overview.rooms:
        tables.append(roles_table(room))
        under_way = [task for task in room.tasks if task.status != BACKLOG]
        if under_way:
            tables.append(tasks_table(f"Open tasks of {room.name}", under_way))
    if overview.machines:
        tables.append(machines_table(overview.machines))
    return tables


def roles_table(room: RoomView) -> Table:
    title = f"Room {room.name}" + ("" if room.status == "open" else f" ({room.status})")
    if count := sum(task.status == BACKLOG for task in room.tasks):
        title += f", {count} in the backlog: greenroom backlog list {room.name}"
    return Table(title, ROLE_HEADS, [role_row(role) for role in room.roles])


def role_row(role: RoleView) -> tuple[str, ...]:
    until = f" until {clock_time(role.status_until)}" if role.status_until else ""
    seen = clock_time(role.last_seen_at)
    return (role.name, role.status + until, seen, role.kind, role.machine or "-", first_line(role.status_reason or ""))


def tasks_table(title: str, tasks: tuple[Task, ...] | list[Task]) -> Table:
    return Table(title, TASK_HEADS, [task_row(task) for task in tasks])


def task_row(task: Task) -> tuple[str, ...]:
    return (task.id, task.target_role, task.status, str(task.attempt), str(task.deaths), first_line(task.text, 60))


def machines_table(machines: tuple[MachineView, ...] | list[MachineView]) -> Table:
    return Table("Machines", MACHINE_HEADS, [machine_row(machine) for machine in machines])


def machine_row(machine: MachineView) -> tuple[str, ...]:
    agents = ", ".join(f"{agent.room}/{agent.role}: {agent.status}" for agent in machine.agents)
    status = "connected" if machine.daemon_connected else "not connected"
    seen = clock_time(machine.last_seen_at)
    return (machine.name, machine.id, status, seen, ", ".join(machine.harnesses) or "-", agents or "-")
