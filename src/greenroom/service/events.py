"""Reading the log: of a room, of a machine, of everything. Must not know streams over HTTP."""

from greenroom.domain import caller as callers
from greenroom.domain.caller import Caller
from greenroom.domain.event import Event, machine_stream, room_stream
from greenroom.service import access
from greenroom.service.world import World
from greenroom.store import log
from greenroom.store.transaction import Reader

ROOM = "room"


def stream_of_room(world: World, reader: Reader, caller: Caller, room_name: str) -> str:
    """The stream of a room, for a caller that may read it."""
    return room_stream(access.room_to_read(reader, caller, room_name).id)


def stream_of_machine(world: World, reader: Reader, caller: Caller, machine_id: str) -> str:
    """The stream of a machine, for a caller that may run it."""
    return machine_stream(access.machine(reader, caller, machine_id).id)


def may_follow(world: World, caller: Caller, stream: str) -> bool | None:
    """Tell from memory whether a caller may still read a stream; None when only the store can tell."""
    kind, _, subject = stream.partition(":")
    if kind != ROOM or caller.scope == callers.ATTEMPT:
        return None
    place = world.directory.find(subject)
    return place is not None and callers.may_read(caller, place.id, frozenset(filter(None, place.machine_of.values())))


def look_again(world: World, reader: Reader, caller: Caller, stream: str) -> None:
    """Raise Refused or NotFound if a caller may not read a stream any more, or there is none any more."""
    kind, _, subject = stream.partition(":")
    if kind == ROOM:
        access.room_to_read(reader, caller, subject)
    else:
        access.machine(reader, caller, subject)


def page(world: World, reader: Reader, stream: str, after: int, limit: int) -> list[Event]:
    """Up to `limit` events of a stream after number `after`, oldest first."""
    return log.events_after(reader, stream, after, limit)


def page_of_all(world: World, reader: Reader, caller: Caller, after: int, limit: int) -> list[Event]:
    """Up to `limit` events of all streams after place `after`, in commit order."""
    access.operator_only(caller)
    return log.all_after(reader, after, limit)
