"""Collects what needs the user, from the server's alerts and from rooms and machines, each with a command."""

from collections.abc import Iterator

import msgspec

from greenroom.domain.alert import Alert
from greenroom.domain.role import REMOTE, RUNNING
from greenroom.domain.role_status import CRASH_LOOPING, PAUSED, STOPPED, VACANT
from greenroom.domain.task import PENDING, PENDING_REVIEW, QUARANTINED, Task
from greenroom.wire.replies import MachineView, RoleView, RoomView

LATE_RESULT = "late_result"

# Kinds of alerts that the server raises: the part of a key before its colon.
UNATTENDED = "unattended"
REVIEW = "review"
MACHINE_CLONED = "machine_cloned"
ROLE_ALERT_KINDS = (UNATTENDED, CRASH_LOOPING, PAUSED)


class AlertEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Something that needs a user: where, what, and the command to inspect or fix it."""

    kind: str
    where: str
    detail: str
    next: str


def collect_alerts(
    late_loops: tuple[str, ...],
    alerts: tuple[Alert, ...],
    rooms: tuple[RoomView, ...],
    machines: tuple[MachineView, ...],
    late: tuple[Task, ...] = (),
) -> Iterator[AlertEntry]:
    """What needs the user, the worst first. `late` are the tasks that have late results.

    An alert of the server is shown as it is, unless an entry that is derived here covers it.
    """
    for loop in late_loops:
        yield AlertEntry(kind="loop_late", where="server", detail=f"loop {loop} is late", next="greenroom doctor")
    derived = [
        *quarantined_tasks(rooms),
        *disconnected_machines(rooms, machines),
        *(need for room in rooms for need in unattended_roles(room)),
    ]
    derived += [*tasks_under_review(rooms), *tasks_with_late_results(rooms, late)]
    covered = {key for need in derived for key in alert_keys(need, rooms)}
    yield from (alert_entry(alert, rooms) for alert in alerts if alert.key not in covered)
    yield from derived


def alert_entry(alert: Alert, rooms: tuple[RoomView, ...]) -> AlertEntry:
    """Turn an alert of the server into an entry, with the command to inspect it."""
    kind, _, subject = alert.key.partition(":")
    names = {room.id: room.name for room in rooms}
    room, slash, role = subject.partition("/")
    target = f"{names.get(room, room)}/{role}" if slash else subject
    commands = {
        **dict.fromkeys(ROLE_ALERT_KINDS, f"greenroom why {target}"),
        MACHINE_CLONED: "greenroom doctor (on each machine of that name)",
        QUARANTINED: f"greenroom task show {subject}",
        REVIEW: f"greenroom task show {subject}",
    }
    where = (
        target if kind in (*ROLE_ALERT_KINDS, MACHINE_CLONED) else names.get(alert.room or "", alert.room or "server")
    )
    detail = alert.text.removeprefix(f"{where} is ")  # the column WHERE shows it
    return AlertEntry(kind=alert.key, where=where, detail=detail, next=commands.get(kind, "greenroom doctor"))


def alert_keys(need: AlertEntry, rooms: tuple[RoomView, ...]) -> Iterator[str]:
    """The keys of alerts that an entry covers. Their rooms may be given by id or by name."""
    if need.kind in (VACANT, STOPPED):
        name, _, role = need.where.partition("/")
        room = next(room for room in rooms if room.name == name)
        yield from (f"{UNATTENDED}:{room.id}/{role}", f"{UNATTENDED}:{name}/{role}")
    elif need.kind in (QUARANTINED, PENDING_REVIEW):
        task = need.detail.partition(":")[0]
        yield f"{QUARANTINED if need.kind == QUARANTINED else REVIEW}:{task}"


def quarantined_tasks(rooms: tuple[RoomView, ...]) -> Iterator[AlertEntry]:
    for room, task in tasks_in_status(rooms, QUARANTINED):
        detail = f"{task.id}: {task.reason or f'failed {task.failures} times'}"
        yield AlertEntry(
            kind=QUARANTINED, where=role_path(room, task), detail=detail, next=f"greenroom task show {task.id}"
        )


def tasks_under_review(rooms: tuple[RoomView, ...]) -> Iterator[AlertEntry]:
    for room, task in tasks_in_status(rooms, PENDING_REVIEW):
        detail = f"{task.id}: its result waits to be accepted or sent back"
        yield AlertEntry(
            kind=PENDING_REVIEW, where=role_path(room, task), detail=detail, next=f"greenroom task show {task.id}"
        )


def tasks_with_late_results(rooms: tuple[RoomView, ...], late: tuple[Task, ...]) -> Iterator[AlertEntry]:
    rooms_by_id = {room.id: room for room in rooms}
    for task in late:
        count = len(task.late_results)
        detail = f"{task.id}: {count} late result{'' if count == 1 else 's'}"
        where = role_path(rooms_by_id[task.room], task) if task.room in rooms_by_id else task.room
        yield AlertEntry(kind=LATE_RESULT, where=where, detail=detail, next=f"greenroom task show {task.id}")


def disconnected_machines(rooms: tuple[RoomView, ...], machines: tuple[MachineView, ...]) -> Iterator[AlertEntry]:
    """The machines that are not connected and should run agents."""
    for machine in machines:
        waiting = [f"{room.name}/{role.name}" for room in rooms for role in room.roles if is_assigned_to(role, machine)]
        if waiting and not machine.daemon_connected:
            detail = f"not connected; {', '.join(waiting)} should run there"
            start = "greenroom daemon start (on that machine)"
            yield AlertEntry(kind="machine_offline", where=machine.name, detail=detail, next=start)


def tasks_in_status(rooms: tuple[RoomView, ...], status: str) -> Iterator[tuple[RoomView, Task]]:
    return ((room, task) for room in rooms for task in room.tasks if task.status == status)


def role_path(room: RoomView, task: Task) -> str:
    return f"{room.name}/{task.target_role}"


def is_assigned_to(role: RoleView, machine: MachineView) -> bool:
    """Whether the role's agent should run on that machine now."""
    return role.kind == REMOTE and role.desired == RUNNING and role.machine in (machine.id, machine.name)


def unattended_roles(room: RoomView) -> Iterator[AlertEntry]:
    """The roles that have pending tasks but no agent that will claim them."""
    for role in room.roles:
        count = sum(task.status == PENDING and task.target_role == role.name for task in room.tasks)
        if not count or role.status not in (VACANT, STOPPED):
            continue
        where = f"{room.name}/{role.name}"
        work = "a task waits" if count == 1 else f"{count} tasks wait"
        join = f"greenroom wait-for-task {room.name} --role {role.name}"
        yield AlertEntry(
            kind=role.status,
            where=where,
            detail=f"{role.status} ({role.status_reason or 'no reason given'}); {work}",
            next=f"greenroom agent start {where}" if role.status == STOPPED else join,
        )
