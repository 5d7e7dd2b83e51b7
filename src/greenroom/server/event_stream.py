"""Streams events to clients as server-sent events (SSE), for as long as the client may read them.

A reader is a cursor, not a queue: it takes the next page when the one before has been sent, from the event buffer in
memory or, when it is too far behind for that, from the store. A slow reader costs other clients nothing.

Settings: `stream_page` (events per page), `stream_comment_s` (seconds of silence until a comment is sent). Metric:
`greenroom_streams`.
"""

import logging
from collections.abc import AsyncGenerator
from typing import Final

import msgspec

from greenroom.domain.errors import NotFound, Refused, Unavailable, Unusable
from greenroom.domain.event import Event
from greenroom.domain.principal import Principal
from greenroom.server.context import ServerContext
from greenroom.server.request import Request
from greenroom.server.response import Stream
from greenroom.server.wakeups import wait_any
from greenroom.service.event_log import check_stream_access, may_follow
from greenroom.store import event_log, retention
from greenroom.store.transaction import Reader
from greenroom.wire.requests import INTEGER_MAX

logger = logging.getLogger("greenroom.server.event_stream")

EVENT_STREAM: Final = "text/event-stream"
KEEPALIVE: Final = b": still here\n\n"
HEADERS: Final = (("cache-control", "no-store"), ("x-accel-buffering", "no"))


class CursorExpired(Exception):
    """Events after the cursor are no longer stored, or never existed. The stream continues after number `last`."""

    def __init__(self, last: int) -> None:
        super().__init__(last)
        self.last = last


class Subscriber:
    """One reader. `cursor` is the number of the last event sent to it: `seq` of one stream, or `pos` of all streams."""

    def __init__(self, server: ServerContext, principal: Principal, stream: str | None, cursor: int) -> None:
        self._server = server
        self._permission = StreamPermission(server, principal, stream)
        self._stream = stream
        self._cursor = cursor
        self._pos: int | None = None
        """The position in the feed up to which this reader has everything; None while it has to read the store."""

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Yield the stream until the server stops, the client disconnects, or it may not read the stream any more."""
        server = self._server
        server.counters.streams += 1
        try:
            yield KEEPALIVE
            while not server.closing.is_set():
                wakeup = server.broadcast.next_flag()
                frames = await self._next_frames()
                if frames and not await self._permission.is_allowed(has_events=True):
                    return
                for frame in frames:
                    yield frame
                if self._pos is not None and self._pos >= server.service.event_buffer.last_pos:
                    await wait_any(wakeup, server.closing, timeout_s=server.service.limits.stream_comment_s)
                    if not wakeup.is_set() and not server.closing.is_set():
                        if not await self._permission.is_allowed(has_events=False):
                            return
                        yield KEEPALIVE
        except Unavailable as error:
            logger.warning("event stream ended: %s: %s", self._stream or "all events", error)
        finally:
            server.counters.streams -= 1

    async def _next_frames(self) -> list[bytes]:
        try:
            events = self._read_feed()
            if events is None:
                events = await self._read_store()
        except CursorExpired as missed:
            self._cursor = missed.last
            return [f'event: reset\nid: {missed.last}\ndata: {{"cursor":{missed.last}}}\n\n'.encode()]
        if events:
            self._cursor = self._number(events[-1])
        return [self._encode_frame(event) for event in events]

    def _read_feed(self) -> list[Event] | None:
        """Return the next page from memory; None when the feed does not reach back to this reader's position."""
        if self._pos is None:
            return None
        events = self._server.service.event_buffer.read_after(self._pos, self._server.service.limits.stream_page)
        if events is None:
            self._pos = None
            return None
        if events:
            self._pos = events[-1].pos
        own_events = events if self._stream is None else [event for event in events if event.stream == self._stream]
        return [event for event in own_events if self._number(event) > self._cursor]

    async def _read_store(self) -> list[Event]:
        """Return the next page from the store. What the feed had before the query is in the store by then."""
        limit = self._server.service.limits.stream_page
        seen = self._server.service.event_buffer.last_pos
        events = await self._server.read(lambda context, reader: self._query_page(reader, limit))
        if len(events) < limit:
            self._pos = seen
        return events

    def _query_page(self, reader: Reader, limit: int) -> list[Event]:
        """Read a page from the store. Numbers have no gaps, so if it does not begin with the next one, raise Missed."""
        if self._stream is None:
            last, page = event_log.get_last_pos(reader), event_log.list_all_after(reader, self._cursor, limit)
            # Retention deletes the events of some streams earlier than others', which leaves gaps below that position.
            if self._cursor < retention.get_deleted_pos(reader):
                raise CursorExpired(last)
        else:
            last = event_log.get_last_seq(reader, self._stream)
            page = event_log.list_events_after(reader, self._stream, self._cursor, limit)
        next_number = self._number(page[0]) if page else last + 1
        if next_number != self._cursor + 1:
            raise CursorExpired(last)
        return page

    def _number(self, event: Event) -> int:
        return event.pos if self._stream is None else event.seq

    def _encode_frame(self, event: Event) -> bytes:
        data = msgspec.json.encode(event)
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (self._number(event), event.type.encode(), data)


class StreamPermission:
    """A token's right to read one stream, or all streams (None).

    That right can end while the stream is open: the token's attempt ends, or its role is assigned to another machine.
    """

    def __init__(self, server: ServerContext, principal: Principal, stream: str | None) -> None:
        self._server = server
        self._principal = principal
        self._stream = stream

    async def is_allowed(self, has_events: bool) -> bool:
        """Return whether the caller may still read the stream.

        The check is made in memory where that is enough, because many readers may follow one room. An operator may read
        everything; with `has_events` (events are about to be sent) that is not looked up in the store, so that the
        operator also gets the last events of a stream that was deleted.
        """
        principal, stream = self._principal, self._stream
        if stream is None or (has_events and principal.is_operator):
            return principal.is_operator
        is_allowed = may_follow(self._server.service, principal, stream)
        if is_allowed is not None:
            return is_allowed
        try:
            await self._server.read(lambda context, reader: check_stream_access(context, reader, principal, stream))
        except (NotFound, Refused):
            return False
        return True


def accepts_stream(request: Request[None]) -> bool:
    """Return whether the client accepts a stream (`text/event-stream`) instead of a list."""
    return EVENT_STREAM in (request.raw.header(b"accept") or "")


def stream_response(server: ServerContext, request: Request[None], stream: str | None) -> Stream:
    """Answer with the events after the client's cursor, as a stream.

    The cursor is Last-Event-ID, which a browser sends when it reconnects, or else the query's `after`. Raises Unusable
    for a Last-Event-ID that is no number. `stream` is None for all streams.
    """
    last_id = (request.raw.header(b"last-event-id") or "").strip()
    if last_id and not (last_id.isascii() and last_id.isdigit() and int(last_id) <= INTEGER_MAX):
        raise Unusable(f"Invalid Last-Event-ID {last_id[:40]!r}.", "Send the `id` of the last event, or leave it out.")
    cursor = int(last_id) if last_id else request.query.after
    return Stream(
        Subscriber(server, request.principal, stream, cursor).frames(), media_type=EVENT_STREAM, headers=HEADERS
    )
