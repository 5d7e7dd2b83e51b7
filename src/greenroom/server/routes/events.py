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
async def room_events(server: Doors, request: Ask[None]) -> object:
    """List or stream the events of a room, ordered by `seq`."""
    stream = await server.read(lambda world, reader: events.stream_of_room(world, reader, request.caller, request.room))
    return await stream_or_page(server, request, stream)


@calls.call(HttpMethod.GET, f"{API}/machines/{{machine}}/events", None, list[Event], EventsQuery, streams=True)
async def machine_events(server: Doors, request: Ask[None]) -> object:
    """List or stream the events of a machine, ordered by `seq`."""
    stream = await server.read(
        lambda world, reader: events.stream_of_machine(world, reader, request.caller, request.machine)
    )
    return await stream_or_page(server, request, stream)


@calls.call(HttpMethod.GET, f"{API}/events", None, list[Event], EventsQuery, streams=True)
async def all_events(server: Doors, request: Ask[None]) -> object:
    """List or stream the events of all streams, ordered by `pos`; operator only."""
    access.operator_only(request.caller)
    return await stream_or_page(server, request, None)


async def stream_or_page(server: Doors, request: Ask[None], stream: str | None) -> object:
    """Answer with a stream if the client accepts one, else with one page. `stream` is None for all streams."""
    if wants_stream(request):
        return stream_response(server, request, stream)
    after, limit = request.query.after, request.limit(server.world.limits)
    if stream is None:
        return await server.read(lambda world, reader: events.page_of_all(world, reader, request.caller, after, limit))
    return await server.read(lambda world, reader: events.page(world, reader, stream, after, limit))
