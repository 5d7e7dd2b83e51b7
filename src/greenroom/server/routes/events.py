"""Calls about what happened: as a list, or as a stream for who accepts `text/event-stream`."""

from litestar import HttpMethod

from greenroom.domain.event import Event
from greenroom.server.ask import Ask
from greenroom.server.doors import Doors
from greenroom.server.live import stream_response, wants_stream
from greenroom.server.operations import API, Operations
from greenroom.server.queries import EventsQuery
from greenroom.service import access, events

calls = Operations()


@calls.call(HttpMethod.GET, f"{API}/rooms/{{room}}/events", None, list[Event], EventsQuery, streams=True)
async def room_events(doors: Doors, ask: Ask[None]) -> object:
    """Tell what happened in a room, by `seq`."""
    stream = await doors.read(lambda world, reader: events.stream_of_room(world, reader, ask.caller, ask.room))
    return await stream_or_page(doors, ask, stream)


@calls.call(HttpMethod.GET, f"{API}/machines/{{machine}}/events", None, list[Event], EventsQuery, streams=True)
async def machine_events(doors: Doors, ask: Ask[None]) -> object:
    """Tell what happened to a machine, by `seq`."""
    stream = await doors.read(lambda world, reader: events.stream_of_machine(world, reader, ask.caller, ask.machine))
    return await stream_or_page(doors, ask, stream)


@calls.call(HttpMethod.GET, f"{API}/events", None, list[Event], EventsQuery, streams=True)
async def all_events(doors: Doors, ask: Ask[None]) -> object:
    """Tell what happened anywhere, by `pos`; only for operators."""
    access.operator_only(ask.caller)
    return await stream_or_page(doors, ask, None)


async def stream_or_page(doors: Doors, ask: Ask[None], stream: str | None) -> object:
    """Follow a stream for who can read one, else tell a page of it."""
    if wants_stream(ask):
        return stream_response(doors, ask, stream)
    after, limit = ask.query.after, ask.limit(doors.world.limits)
    if stream is None:
        return await doors.read(lambda world, reader: events.page_of_all(world, reader, ask.caller, after, limit))
    return await doors.read(lambda world, reader: events.page(world, reader, stream, after, limit))
