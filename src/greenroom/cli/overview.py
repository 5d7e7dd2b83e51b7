"""The whole house at one moment, and what in it needs a person. Knows the API's records; must not know tables."""

from collections.abc import Iterator

import msgspec

from greenroom.cli.connection import all_of
from greenroom.client.session import Session
from greenroom.domain.attention import Attention
from greenroom.domain.role import REMOTE, RUNNING
from greenroom.domain.room import OPEN
from greenroom.domain.status import STOPPED, VACANT
from greenroom.domain.task import PENDING, QUARANTINED
from greenroom.wire.replies import MachineView, RoleView, RoomView

UNREACHABLE = "unreachable"


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """Something that does not heal by itself: where, what, and the command to look at or mend it with."""

    kind: str
    where: str
    detail: str
    next: str


class ServerView(msgspec.Struct, frozen=True, kw_only=True):
    """How the server itself does: `ok`, `late` (its loops stand in `late`) or `unreachable` since then."""

    url: str
    status: str
    late: tuple[str, ...] = ()
    since: str | None = None


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    server: ServerView
    needs: tuple[Need, ...]
    rooms: tuple[RoomView, ...]
    machines: tuple[MachineView, ...]


def look(session: Session) -> Overview:
    """Read the house. Raises Unavailable when the server cannot be reached."""
    health = session.healthz()
    server = ServerView(url=session.url, status="late" if health.late else "ok", late=health.late)
    raised = tuple(session.attention())
    listed = all_of(lambda after: session.rooms(after, session.limits.page_max))
    rooms = tuple(session.snapshot(room.id) for room in listed if room.status == OPEN)
    machines = tuple(all_of(lambda after: session.machines(after, session.limits.page_max)))
    return Overview(server=server, needs=tuple(needs(server, raised, rooms, machines)), rooms=rooms, machines=machines)


def needs(
    server: ServerView, raised: tuple[Attention, ...], rooms: tuple[RoomView, ...], machines: tuple[MachineView, ...]
) -> Iterator[Need]:
    """What a person should look at, the worst first."""
    for loop in server.late:
        yield Need(kind="healer_late", where="server", detail=f"{loop} is late", next="greenroom doctor")
    for each in raised:
        yield Need(kind=each.key, where=each.room or "server", detail=each.text, next="greenroom doctor")
    for room in rooms:
        for task in room.tasks:
            if task.status == QUARANTINED:
                detail = task.reason or f"died {task.deaths} times"
                where = f"{room.name}/{task.target_role}"
                yield Need(
                    kind=QUARANTINED, where=where, detail=f"{task.id}: {detail}", next=f"greenroom task show {task.id}"
                )
    for machine in machines:
        waiting = [f"{room.name}/{role.name}" for room in rooms for role in room.roles if is_wished_on(role, machine)]
        if waiting and not machine.daemon_connected:
            detail = f"not connected; {', '.join(waiting)} should run there"
            yield Need(
                kind="machine_offline", where=machine.name, detail=detail, next="greenroom daemon start (over there)"
            )
    for room in rooms:
        yield from empty_seats(room)


def is_wished_on(role: RoleView, machine: MachineView) -> bool:
    """Tell whether the role's agent should run on that machine now."""
    return role.kind == REMOTE and role.desired == RUNNING and role.machine in (machine.id, machine.name)


def empty_seats(room: RoomView) -> Iterator[Need]:
    """The roles that have work and nobody who will come by himself to do it."""
    for role in room.roles:
        count = sum(task.status == PENDING and task.target_role == role.name for task in room.tasks)
        if not count or role.status not in (VACANT, STOPPED):
            continue
        where = f"{room.name}/{role.name}"
        work = "a task waits" if count == 1 else f"{count} tasks wait"
        come = f"greenroom wait-for-task {room.name} --role {role.name}"
        yield Need(
            kind=role.status,
            where=where,
            detail=f"{role.status} ({role.status_reason or 'no reason told'}); {work}",
            next=f"greenroom agent start {where}" if role.status == STOPPED else come,
        )


def lasting(overview: Overview) -> Overview:
    """The overview without the stamps that every beat moves: two that are equal so show the same state of things."""
    rooms = tuple(
        msgspec.structs.replace(
            room,
            roles=tuple(msgspec.structs.replace(role, last_seen_at=None) for role in room.roles),
            participants=tuple(msgspec.structs.replace(one, ready_until=None) for one in room.participants),
        )
        for room in overview.rooms
    )
    machines = tuple(msgspec.structs.replace(machine, last_seen_at=None) for machine in overview.machines)
    return msgspec.structs.replace(overview, rooms=rooms, machines=machines)
