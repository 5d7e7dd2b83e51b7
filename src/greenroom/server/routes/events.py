"""Calls about events: as a list or, with `Accept: text/event-stream`, as a stream."""

from http import HTTPMethod

from greenroom.domain.event import Event
from greenroom.server.context import ServerContext
from greenroom.server.endpoints import API_PREFIX, EndpointTable
from greenroom.server.event_stream import accepts_stream, stream_response
from greenroom.server.request import EventsQuery, Request
from greenroom.service import authorization, event_log

calls = EndpointTable()


@calls.custom(HTTPMethod.GET, f"{API_PREFIX}/rooms/{{room}}/events", None, list[Event], EventsQuery, streams=True)
async def room_events(server: ServerContext, request: Request[None]) -> object:
    """List or stream the events of a room, ordered by `seq`."""
    stream = await server.read(
        lambda context, reader: event_log.get_room_stream(context, reader, request.principal, request.room)
    )
    return await answer_stream_or_page(server, request, stream)


@calls.custom(HTTPMethod.GET, f"{API_PREFIX}/machines/{{machine}}/events", None, list[Event], EventsQuery, streams=True)
async def machine_events(server: ServerContext, request: Request[None]) -> object:
    """List or stream the events of a machine, ordered by `seq`."""
    stream = await server.read(
        lambda context, reader: event_log.get_machine_stream(context, reader, request.principal, request.machine)
    )
    return await answer_stream_or_page(server, request, stream)


@calls.custom(HTTPMethod.GET, f"{API_PREFIX}/events", None, list[Event], EventsQuery, streams=True)
async def all_events(server: ServerContext, request: Request[None]) -> object:
    """List or stream the events of all streams, ordered by `pos`; operator only."""
    authorization.require_operator(request.principal)
    return await answer_stream_or_page(server, request, None)


async def answer_stream_or_page(server: ServerContext, request: Request[None], stream: str | None) -> object:
    """Answer with a stream if the client accepts one, else with one page. `stream` is None for all streams."""
    if accepts_stream(request):
        return stream_response(server, request, stream)
    after, limit = request.query.after, request.page_size(server.service.limits)
    if stream is None:
        return await server.read(
            lambda context, reader: event_log.list_all_events(context, reader, request.principal, after, limit)
        )
    return await server.read(lambda context, reader: event_log.list_events(context, reader, stream, after, limit))
