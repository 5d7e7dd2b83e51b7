"""What is on record about one role: its state, its events, its absences. Must not judge; that was the server's part."""

from collections.abc import Iterator

import msgspec

from greenroom.cli.verbs import Seat
from greenroom.client.session import Session
from greenroom.clock import seconds_of
from greenroom.domain.errors import NotFound, Refused
from greenroom.domain.event import Event
from greenroom.domain.task import Task
from greenroom.settings.spelling import suggestion
from greenroom.wire.replies import MachineView, ParticipantView, RoleView, RoomView

EVENTS_READ_MAX = 5000
"""So far back is read; a role's story of today is in there."""
GONE = ("participant.expired", "participant.left", "participant.superseded")
CAME = ("participant.joined", "participant.rejoined")


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which nobody was in the role; `until` is None while it lasts."""

    since: str
    until: str | None
    seconds: float | None
    ended_by: str | None
    cause: str


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on record about one role, oldest first."""

    room: str
    role: RoleView
    participant: ParticipantView | None
    machine: MachineView | None
    tasks: tuple[Task, ...]
    gaps: tuple[Gap, ...]
    events: tuple[Event, ...]


def gather(session: Session, seat: Seat) -> Evidence:
    """Read what there is. Raises NotFound."""
    room = session.snapshot(seat.room)
    role = role_of(room, seat.role)
    events = [event for event in recent(session, room) if concerns(event, role.name)]
    machine = machine_of(session, role.machine)
    if machine is not None:
        events += machine_events(session, machine.id, events[0].pos if events else 0)
        events.sort(key=lambda event: event.pos)
    return Evidence(
        room=room.name,
        role=role,
        participant=next((one for one in room.participants if one.role == role.name), None),
        machine=machine,
        tasks=tuple(task for task in room.tasks if task.target_role == role.name),
        gaps=tuple(gaps(events)),
        events=tuple(events),
    )


def role_of(room: RoomView, name: str) -> RoleView:
    """The role that was meant. Raises NotFound."""
    for role in room.roles:
        if role.name == name:
            return role
    raise NotFound(f"Room {room.name} has no role {name!r}.", suggestion(name, [role.name for role in room.roles]))


def recent(session: Session, room: RoomView) -> Iterator[Event]:
    """The newest events of a room."""
    after = max(0, room.cursor - EVENTS_READ_MAX)
    while page := session.room_events(room.id, after, session.limits.page_max):
        yield from page
        after = page[-1].seq


def concerns(event: Event, role: str) -> bool:
    """Tell whether an event is part of a role's story: its own, or the whole room's."""
    return event.data.get("role") == role or event.type.startswith(("room.", "attention."))


def machine_of(session: Session, machine: str | None) -> MachineView | None:
    """The machine that the role is wished onto, where there is one and we may look at it."""
    try:
        return session.machine(machine) if machine is not None else None
    except (NotFound, Refused):
        return None


def machine_events(session: Session, machine: str, since_pos: int) -> list[Event]:
    """When the machine came and went, from the role's first event on."""
    gathered: list[Event] = []
    after = 0
    while page := session.machine_events(machine, after, session.limits.page_max):
        gathered += [event for event in page if event.pos >= since_pos]
        after = page[-1].seq
    return gathered


def gaps(events: list[Event]) -> Iterator[Gap]:
    """The absences between the departures and the arrivals of a role."""
    gone: Event | None = None
    for event in events:
        if event.type in GONE:
            gone = gone or event
        elif event.type in CAME and gone is not None:
            away_s = round(seconds_of(event.at) - seconds_of(gone.at), 3)
            yield Gap(since=gone.at, until=event.at, seconds=away_s, ended_by=event.type, cause=gone.cause)
            gone = None
    if gone is not None:
        yield Gap(since=gone.at, until=None, seconds=None, ended_by=None, cause=gone.cause)
