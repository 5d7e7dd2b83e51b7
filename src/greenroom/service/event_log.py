"""Reads the event log of a room, of a machine, or of all streams, and checks who may follow a stream."""

from greenroom.domain import principal as callers
from greenroom.domain.event import Event, machine_stream, room_stream
from greenroom.domain.principal import Principal
from greenroom.service import authorization
from greenroom.service.context import ServiceContext
from greenroom.store import event_log
from greenroom.store.transaction import Reader

ROOM_STREAM = "room"


def get_room_stream(context: ServiceContext, reader: Reader, principal: Principal, room_name: str) -> str:
    """The name of a room's stream, for a caller that may read the room."""
    return room_stream(authorization.get_readable_room(reader, principal, room_name).id)


def get_machine_stream(context: ServiceContext, reader: Reader, principal: Principal, machine_id: str) -> str:
    """The name of a machine's stream, for a caller that may act as the machine."""
    return machine_stream(authorization.get_machine(reader, principal, machine_id).id)


def may_follow(context: ServiceContext, principal: Principal, stream: str) -> bool | None:
    """Whether a caller may still read a stream, from memory; None when that needs the store (`check_stream_access`)."""
    kind, _, subject = stream.partition(":")
    if not context.tokens.is_current(principal):
        return False
    if kind != ROOM_STREAM or principal.scope == callers.ATTEMPT:
        return None
    room = context.room_cache.find(subject)
    return room is not None and callers.may_read(
        principal, room.id, frozenset(filter(None, room.machine_by_role.values()))
    )


def check_stream_access(context: ServiceContext, reader: Reader, principal: Principal, stream: str) -> None:
    """Raise Refused or NotFound if a caller may no longer read a stream, or its room or machine was deleted."""
    kind, _, subject = stream.partition(":")
    if kind == ROOM_STREAM:
        authorization.get_readable_room(reader, principal, subject)
    else:
        authorization.get_machine(reader, principal, subject)


def get_last_number(context: ServiceContext, reader: Reader, stream: str | None) -> int:
    """The `seq` of a stream's newest event, or (None) the `pos` of the newest of all streams; 0 before the first."""
    return event_log.get_last_pos(reader) if stream is None else event_log.get_last_seq(reader, stream)


def list_events(context: ServiceContext, reader: Reader, stream: str, after: int, limit: int) -> list[Event]:
    """Up to `limit` events of a stream after number `after`, oldest first."""
    return event_log.list_events_after(reader, stream, after, limit)


def list_all_events(
    context: ServiceContext, reader: Reader, principal: Principal, after: int, limit: int
) -> list[Event]:
    """Up to `limit` events of all streams after position `after`, in commit order. Operators only."""
    authorization.require_operator(principal)
    return event_log.list_all_after(reader, after, limit)
