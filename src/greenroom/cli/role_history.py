"""Reads what the server has on record about one role: its status, tasks, events and absences."""

from collections.abc import Iterator

import msgspec

from greenroom.cli.connection import read_pages
from greenroom.cli.verbs import RoleAddress
from greenroom.client.api_client import ApiClient
from greenroom.clock import parse_instant
from greenroom.domain.errors import NotFound, Refused
from greenroom.domain.event import Event
from greenroom.domain.task import Task
from greenroom.settings.suggest import suggest_name
from greenroom.wire.replies import MachineView, ParticipantView, RoleView, RoomView

EVENTS_READ_MAX = 5000
"""At most so many of a room's newest events are read."""
PARTICIPANT_END_EVENTS = ("participant.expired", "participant.left", "participant.superseded")
PARTICIPANT_START_EVENTS = ("participant.joined", "participant.rejoined")
MACHINE_END_EVENTS = ("machine.disconnected",)
MACHINE_START_EVENTS = ("machine.reconnected",)


class AbsenceGap(msgspec.Struct, frozen=True, kw_only=True):
    """A time without a present participant in the role, or (with `machine`) with that machine disconnected.

    `until`, `seconds` and `ended_by` (an event type) are None while it lasts.
    """

    since: str
    until: str | None
    seconds: float | None
    ended_by: str | None
    cause: str
    machine: str | None = None


class RoleHistory(msgspec.Struct, frozen=True, kw_only=True):
    """What is on record about one role. Events and gaps are ordered, oldest first."""

    room: str
    role: RoleView
    participant: ParticipantView | None
    machine: MachineView | None
    tasks: tuple[Task, ...]
    gaps: tuple[AbsenceGap, ...]
    events: tuple[Event, ...]
    room_status: str
    machine_names: dict[str, str]


def read_role_history(session: ApiClient, role_address: RoleAddress) -> RoleHistory:
    """Read everything about a role. Raises NotFound."""
    room = session.snapshot(role_address.room)
    role = find_role(room, role_address.role)
    tasks = tuple(task for task in room.tasks if task.target_role == role.name)
    events = read_role_events(session, room.id, role.name)
    machines = read_machines(session, role.machine)
    for machine in sorted(assigned_machines(events, role.machine) & machines.keys()):
        events += read_machine_events(session, machine, events[0].pos if events else 0)
    events.sort(key=lambda event: event.pos)
    return RoleHistory(
        room=room.name,
        role=role,
        participant=next((participant for participant in room.participants if participant.role == role.name), None),
        machine=machines.get(role.machine or ""),
        tasks=tasks,
        gaps=tuple(sorted(find_all_gaps(events), key=lambda gap: gap.since)),
        events=tuple(events),
        room_status=room.status,
        machine_names={machine.id: machine.name for machine in machines.values()},
    )


def find_role(room: RoomView, name: str) -> RoleView:
    """The room's role of that name. Raises NotFound, with a suggestion."""
    for role in room.roles:
        if role.name == name:
            return role
    raise NotFound(f"Room {room.name} has no role {name!r}.", suggest_name(name, [role.name for role in room.roles]))


def read_role_events(session: ApiClient, room: str, role: str) -> list[Event]:
    """The events that concern a role, of the newest events of its room."""
    events: list[Event] = list(read_recent_events(session, room))
    its_tasks = {event.data.get("task") for event in events if event.data.get("role") == role} - {None}
    return [event for event in events if concerns_role(event, role, its_tasks)]


def read_recent_events(session: ApiClient, room: str) -> Iterator[Event]:
    """The newest events of a room, at most `EVENTS_READ_MAX`, oldest first."""
    page = session.room_events(room, limit=session.limits.page_max, newest=EVENTS_READ_MAX)
    while page:
        yield from page
        page = session.room_events(room, page[-1].cursor, session.limits.page_max)


def concerns_role(event: Event, role: str, its_tasks: set[object]) -> bool:
    """Whether an event concerns a role: its own, the room's, or an alert about the role or its tasks."""
    if event.type.startswith("alert.") and event.data.get("task") in its_tasks:
        return True
    return event.data.get("role") == role or event.type.startswith("room.")


def read_machines(session: ApiClient, machine: str | None) -> dict[str, MachineView]:
    """All machines by id. A token that may not list them gets only the role's own machine, or none."""
    try:
        return {found.id: found for found in read_pages(lambda after: session.machines(after, session.limits.page_max))}
    except Refused:
        pass
    try:
        return {machine: session.machine(machine)} if machine is not None else {}
    except (NotFound, Refused):
        return {}


def assigned_machines(events: list[Event], machine: str | None) -> set[str]:
    """The ids of the machines that the role is or was assigned to, as far as its events go back."""
    assigned = (event.data.get("machine") for event in events if event.type == "agent.configured")
    return {name for name in (machine, *assigned) if name is not None}


def read_machine_events(session: ApiClient, machine: str, since_pos: int) -> list[Event]:
    """The events of a machine from the position of the role's first event on."""
    events: list[Event] = []
    after: str | None = None
    while page := session.machine_events(machine, after, session.limits.page_max):
        events += [event for event in page if event.pos >= since_pos]
        after = page[-1].cursor
    return events


def find_all_gaps(events: list[Event]) -> Iterator[AbsenceGap]:
    """The absences of the role's participants, then those of its machines."""
    yield from find_gaps(events, PARTICIPANT_END_EVENTS, PARTICIPANT_START_EVENTS)
    for machine in sorted({str(event.data["name"]) for event in events if event.type in MACHINE_END_EVENTS}):
        its_own = [event for event in events if event.data.get("name") == machine]
        for gap in find_gaps(its_own, MACHINE_END_EVENTS, MACHINE_START_EVENTS):
            yield msgspec.structs.replace(gap, machine=machine)


def find_gaps(events: list[Event], gone: tuple[str, ...], came: tuple[str, ...]) -> Iterator[AbsenceGap]:
    """The gaps between events of types `gone` and the next event of types `came`."""
    left: Event | None = None
    for event in events:
        if event.type in gone:
            left = left or event
        elif event.type in came and left is not None:
            away_s = round(parse_instant(event.at) - parse_instant(left.at), 3)
            yield AbsenceGap(since=left.at, until=event.at, seconds=away_s, ended_by=event.type, cause=left.cause)
            left = None
    if left is not None:
        yield AbsenceGap(since=left.at, until=None, seconds=None, ended_by=None, cause=left.cause)
