"""Calls about events: as a list or, with `Accept: text/event-stream`, as a stream."""

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
    """List or stream the events of a room, ordered by `seq`."""
    stream = await doors.read(lambda world, reader: events.stream_of_room(world, reader, ask.caller, ask.room))
    return await stream_or_page(doors, ask, stream)


@calls.call(HttpMethod.GET, f"{API}/machines/{{machine}}/events", None, list[Event], EventsQuery, streams=True)
async def machine_events(doors: Doors, ask: Ask[None]) -> object:
    """List or stream the events of a machine, ordered by `seq`."""
    stream = await doors.read(lambda world, reader: events.stream_of_machine(world, reader, ask.caller, ask.machine))
    return await stream_or_page(doors, ask, stream)


@calls.call(HttpMethod.GET, f"{API}/events", None, list[Event], EventsQuery, streams=True)
async def all_events(doors: Doors, ask: Ask[None]) -> object:
    """List or stream the events of all streams, ordered by `pos`; operator only."""
    access.operator_only(ask.caller)
    return await stream_or_page(doors, ask, None)


async def stream_or_page(doors: Doors, ask: Ask[None], stream: str | None) -> object:
    """Answer with a stream if the client accepts one, else with one page. `stream` is None for all streams."""
    if wants_stream(ask):
        return stream_response(doors, ask, stream)
    after, limit = ask.query.after, ask.limit(doors.world.limits)
    if stream is None:
        return await doors.read(lambda world, reader: events.page_of_all(world, reader, ask.caller, after, limit))
    return await doors.read(lambda world, reader: events.page(world, reader, stream, after, limit))
