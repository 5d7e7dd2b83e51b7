"""Calls about events: as a list or, with `Accept: text/event-stream`, as a stream."""

from http import HTTPMethod

from greenroom.domain.errors import Unusable
from greenroom.server.context import ServerContext
from greenroom.server.endpoints import API_PREFIX, EndpointTable
from greenroom.server.event_stream import accepts_stream, stream_response
from greenroom.server.request import EventsQuery, Request
from greenroom.service import authorization, event_log
from greenroom.service.context import ServiceContext
from greenroom.store.transaction import Reader
from greenroom.wire.cursor import StreamCursors
from greenroom.wire.replies import EventView

calls = EndpointTable()


@calls.custom(HTTPMethod.GET, f"{API_PREFIX}/rooms/{{room}}/events", None, list[EventView], EventsQuery, streams=True)
async def room_events(server: ServerContext, request: Request[None]) -> object:
    """List or stream the events of a room, ordered by `seq`."""
    stream = await server.read(
        lambda context, reader: event_log.get_room_stream(context, reader, request.principal, request.room)
    )
    return await answer_stream_or_page(server, request, stream)


@calls.custom(
    HTTPMethod.GET, f"{API_PREFIX}/machines/{{machine}}/events", None, list[EventView], EventsQuery, streams=True
)
async def machine_events(server: ServerContext, request: Request[None]) -> object:
    """List or stream the events of a machine, ordered by `seq`."""
    stream = await server.read(
        lambda context, reader: event_log.get_machine_stream(context, reader, request.principal, request.machine)
    )
    return await answer_stream_or_page(server, request, stream)


@calls.custom(HTTPMethod.GET, f"{API_PREFIX}/events", None, list[EventView], EventsQuery, streams=True)
async def all_events(server: ServerContext, request: Request[None]) -> object:
    """List or stream the events of all streams, ordered by `pos`; operator only."""
    authorization.require_operator(request.principal)
    return await answer_stream_or_page(server, request, None)


async def answer_stream_or_page(server: ServerContext, request: Request[None], stream: str | None) -> object:
    """Answer with a stream if the client accepts one, else with one page. `stream` is None for all streams.

    A stream begins after Last-Event-ID, which a browser sends when it reconnects, whatever the query says.
    """
    cursors = StreamCursors(stream)
    if accepts_stream(request):
        last_id = (request.raw.header(b"last-event-id") or "").strip()
        after = cursors.decode(last_id) if last_id else await read_start(server, request.query, stream)
        return stream_response(server, request.principal, stream, after)
    after = await read_start(server, request.query, stream)
    limit = request.page_size(server.service.limits)

    def read_page(context: ServiceContext, reader: Reader) -> list[EventView]:
        if stream is None:
            page = event_log.list_all_events(context, reader, request.principal, after, limit)
        else:
            page = event_log.list_events(context, reader, stream, after, limit)
        return [cursors.view(event) for event in page]

    return await server.read(read_page)


async def read_start(server: ServerContext, query: EventsQuery, stream: str | None) -> int:
    """Return the number of the event after which the answer begins, by its query.

    Raises Unusable for an `after` that is no cursor of this list, or together with `newest`.
    """
    if query.newest is None:
        return StreamCursors(stream).decode(query.after) if query.after is not None else 0
    if query.after is not None:
        raise Unusable("`after` and `newest` exclude each other.", "Send one of them, or none to begin at the start.")
    last = await server.read(lambda context, reader: event_log.get_last_number(context, reader, stream))
    return max(0, last - query.newest)
