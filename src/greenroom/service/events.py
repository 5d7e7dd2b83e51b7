"""Reads the event log of a room, of a machine, or of all streams, and checks who may follow a stream."""

from greenroom.domain import caller as callers
from greenroom.domain.caller import Caller
from greenroom.domain.event import Event, machine_stream, room_stream
from greenroom.service import access
from greenroom.service.world import World
from greenroom.store import log
from greenroom.store.transaction import Reader

ROOM = "room"


def stream_of_room(world: World, reader: Reader, caller: Caller, room_name: str) -> str:
    """The name of a room's stream, for a caller that may read the room."""
    return room_stream(access.room_to_read(reader, caller, room_name).id)


def stream_of_machine(world: World, reader: Reader, caller: Caller, machine_id: str) -> str:
    """The name of a machine's stream, for a caller that may act as the machine."""
    return machine_stream(access.machine(reader, caller, machine_id).id)


def may_follow(world: World, caller: Caller, stream: str) -> bool | None:
    """Whether a caller may still read a stream, from memory; None when that needs the store (see `look_again`)."""
    kind, _, subject = stream.partition(":")
    if kind != ROOM or caller.scope == callers.ATTEMPT:
        return None
    room = world.directory.find(subject)
    return room is not None and callers.may_read(caller, room.id, frozenset(filter(None, room.machine_of.values())))


def look_again(world: World, reader: Reader, caller: Caller, stream: str) -> None:
    """Raise Refused or NotFound if a caller may no longer read a stream, or its room or machine was deleted."""
    kind, _, subject = stream.partition(":")
    if kind == ROOM:
        access.room_to_read(reader, caller, subject)
    else:
        access.machine(reader, caller, subject)


def page(world: World, reader: Reader, stream: str, after: int, limit: int) -> list[Event]:
    """Up to `limit` events of a stream after number `after`, oldest first."""
    return log.events_after(reader, stream, after, limit)


def page_of_all(world: World, reader: Reader, caller: Caller, after: int, limit: int) -> list[Event]:
    """Up to `limit` events of all streams after position `after`, in commit order. Operators only."""
    access.operator_only(caller)
    return log.all_after(reader, after, limit)
