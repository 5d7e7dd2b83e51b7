"""Collects what needs the user, from the server's alerts and from rooms and machines, each with a command."""

from collections.abc import Iterator

import msgspec

from greenroom.domain.attention import Attention
from greenroom.domain.role import REMOTE, RUNNING
from greenroom.domain.status import PARKED, PAUSED, STOPPED, VACANT
from greenroom.domain.task import PENDING, PENDING_REVIEW, QUARANTINED, Task
from greenroom.wire.replies import MachineView, RoleView, RoomView

LATE_RESULT = "late_result"

# Kinds of alerts that the server raises: the part of a key before its colon.
UNATTENDED = "unattended"
REVIEW = "review"
CLONED = "cloned"
OF_SEATS = (UNATTENDED, PARKED, PAUSED)


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """Something that needs a user: where, what, and the command to inspect or fix it."""

    kind: str
    where: str
    detail: str
    next: str


def needs(
    late_loops: tuple[str, ...],
    alerts: tuple[Attention, ...],
    rooms: tuple[RoomView, ...],
    machines: tuple[MachineView, ...],
    late: tuple[Task, ...] = (),
) -> Iterator[Need]:
    """What needs the user, the worst first. `late` are the tasks that have late results.

    An alert of the server is shown as it is, unless an entry that is derived here covers it.
    """
    for loop in late_loops:
        yield Need(kind="healer_late", where="server", detail=f"loop {loop} is late", next="greenroom doctor")
    derived = [*quarantined(rooms), *absent(rooms, machines), *(need for room in rooms for need in empty_seats(room))]
    derived += [*under_review(rooms), *with_late_results(rooms, late)]
    covered = {key for need in derived for key in keys_of(need, rooms)}
    yield from (need_of(alert, rooms) for alert in alerts if alert.key not in covered)
    yield from derived


def need_of(alert: Attention, rooms: tuple[RoomView, ...]) -> Need:
    """Turn an alert of the server into an entry, with the command to inspect it."""
    kind, _, subject = alert.key.partition(":")
    names = {room.id: room.name for room in rooms}
    room, slash, role = subject.partition("/")
    target = f"{names.get(room, room)}/{role}" if slash else subject
    commands = {
        **dict.fromkeys(OF_SEATS, f"greenroom why {target}"),
        CLONED: "greenroom doctor (on each machine of that name)",
        QUARANTINED: f"greenroom task show {subject}",
        REVIEW: f"greenroom task show {subject}",
    }
    where = target if kind in (*OF_SEATS, CLONED) else names.get(alert.room or "", alert.room or "server")
    detail = alert.text.removeprefix(f"{where} is ")  # the column WHERE shows it
    return Need(kind=alert.key, where=where, detail=detail, next=commands.get(kind, "greenroom doctor"))


def keys_of(need: Need, rooms: tuple[RoomView, ...]) -> Iterator[str]:
    """The keys of alerts that an entry covers. Their rooms may be given by id or by name."""
    if need.kind in (VACANT, STOPPED):
        name, _, role = need.where.partition("/")
        room = next(room for room in rooms if room.name == name)
        yield from (f"{UNATTENDED}:{room.id}/{role}", f"{UNATTENDED}:{name}/{role}")
    elif need.kind in (QUARANTINED, PENDING_REVIEW):
        task = need.detail.partition(":")[0]
        yield f"{QUARANTINED if need.kind == QUARANTINED else REVIEW}:{task}"


def quarantined(rooms: tuple[RoomView, ...]) -> Iterator[Need]:
    for room, task in in_state(rooms, QUARANTINED):
        detail = f"{task.id}: {task.reason or f'failed {task.deaths} times'}"
        yield Need(kind=QUARANTINED, where=seat_of(room, task), detail=detail, next=f"greenroom task show {task.id}")


def under_review(rooms: tuple[RoomView, ...]) -> Iterator[Need]:
    for room, task in in_state(rooms, PENDING_REVIEW):
        detail = f"{task.id}: its result waits to be accepted or sent back"
        yield Need(kind=PENDING_REVIEW, where=seat_of(room, task), detail=detail, next=f"greenroom task show {task.id}")


def with_late_results(rooms: tuple[RoomView, ...], late: tuple[Task, ...]) -> Iterator[Need]:
    rooms_by_id = {room.id: room for room in rooms}
    for task in late:
        count = len(task.late_results)
        detail = f"{task.id}: {count} late result{'' if count == 1 else 's'}"
        where = seat_of(rooms_by_id[task.room], task) if task.room in rooms_by_id else task.room
        yield Need(kind=LATE_RESULT, where=where, detail=detail, next=f"greenroom task show {task.id}")


def absent(rooms: tuple[RoomView, ...], machines: tuple[MachineView, ...]) -> Iterator[Need]:
    """The machines that are not connected and should run agents."""
    for machine in machines:
        waiting = [f"{room.name}/{role.name}" for room in rooms for role in room.roles if is_wished_on(role, machine)]
        if waiting and not machine.daemon_connected:
            detail = f"not connected; {', '.join(waiting)} should run there"
            start = "greenroom daemon start (on that machine)"
            yield Need(kind="machine_offline", where=machine.name, detail=detail, next=start)


def in_state(rooms: tuple[RoomView, ...], status: str) -> Iterator[tuple[RoomView, Task]]:
    return ((room, task) for room in rooms for task in room.tasks if task.status == status)


def seat_of(room: RoomView, task: Task) -> str:
    return f"{room.name}/{task.target_role}"


def is_wished_on(role: RoleView, machine: MachineView) -> bool:
    """Whether the role's agent should run on that machine now."""
    return role.kind == REMOTE and role.desired == RUNNING and role.machine in (machine.id, machine.name)


def empty_seats(room: RoomView) -> Iterator[Need]:
    """The roles that have pending tasks but no agent that will claim them."""
    for role in room.roles:
        count = sum(task.status == PENDING and task.target_role == role.name for task in room.tasks)
        if not count or role.status not in (VACANT, STOPPED):
            continue
        where = f"{room.name}/{role.name}"
        work = "a task waits" if count == 1 else f"{count} tasks wait"
        join = f"greenroom wait-for-task {room.name} --role {role.name}"
        yield Need(
            kind=role.status,
            where=where,
            detail=f"{role.status} ({role.status_reason or 'no reason given'}); {work}",
            next=f"greenroom agent start {where}" if role.status == STOPPED else join,
        )
