"""Streams events to clients as server-sent events (SSE), for as long as the client may read them.

A reader is a cursor, not a queue: it takes the next page when the one before has been sent, from the event buffer in
memory or, when it is too far behind for that, from the store. A slow reader costs other clients nothing. The stream
begins with a heartbeat, so that its reader has a cursor before the first event, and has one at every interval.

Settings: `stream_page` (events per page), `stream_heartbeat_s` (seconds between heartbeats). Metric:
`greenroom_streams`.
"""

import logging
from collections.abc import AsyncGenerator
from typing import Final

import msgspec

from greenroom import __version__
from greenroom.domain.errors import NotFound, Refused, Unavailable
from greenroom.domain.event import Event
from greenroom.domain.principal import Principal
from greenroom.server.context import ServerContext
from greenroom.server.request import Request
from greenroom.server.response import Stream
from greenroom.server.wakeups import Flag, wait_any
from greenroom.service.event_log import check_stream_access, may_follow
from greenroom.store import event_log, retention
from greenroom.store.transaction import Reader
from greenroom.wire.cursor import StreamCursors
from greenroom.wire.replies import HEARTBEAT_EVENT, RESET_EVENT, CursorReset, StreamHeartbeat

logger = logging.getLogger("greenroom.server.event_stream")

EVENT_STREAM: Final = "text/event-stream"
HEADERS: Final = (("cache-control", "no-store"), ("x-accel-buffering", "no"))


class CursorExpired(Exception):
    """Events after the cursor are no longer stored, or never existed. The stream continues after number `last`."""

    def __init__(self, last: int) -> None:
        super().__init__(last)
        self.last = last


class Subscriber:
    """One reader. `after` is the number of the last event that it has: `seq` of one stream, or `pos` of all streams."""

    def __init__(self, server: ServerContext, principal: Principal, stream: str | None, after: int) -> None:
        self._server = server
        self._permission = StreamPermission(server, principal, stream)
        self._stream = stream
        self._cursors = StreamCursors(stream)
        self._after = after
        self._pos: int | None = None
        """The position in the feed up to which this reader has everything; None while it has to read the store."""

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Yield the stream until the server stops, the client disconnects, or it may not read the stream any more."""
        server = self._server
        server.counters.streams += 1
        try:
            while not server.closing.is_set():
                yield self._encode_heartbeat()
                with server.timer(server.service.limits.stream_heartbeat_s) as heartbeat_due:
                    while not heartbeat_due.is_set() and not server.closing.is_set():
                        wakeup = server.broadcast.next_flag()
                        frames = await self._next_frames()
                        if frames and not await self._permission.is_allowed(has_events=True):
                            return
                        for frame in frames:
                            yield frame
                        await self._wait_for_event(wakeup, heartbeat_due)
                if not await self._permission.is_allowed(has_events=False):
                    # The end of the right is preceded by events that may have come since the last look.
                    while (frames := await self._next_frames()) and await self._permission.is_allowed(has_events=True):
                        for frame in frames:
                            yield frame
                    return
        except Unavailable as error:
            logger.warning("event stream ended: %s: %s", self._stream or "all events", error)
        finally:
            server.counters.streams -= 1

    async def _wait_for_event(self, wakeup: Flag, heartbeat_due: Flag) -> None:
        """Wait until there may be another event or a heartbeat is due; not at all while this reader is behind."""
        if self._pos is not None and self._pos >= self._server.service.event_buffer.last_pos:
            await wait_any(wakeup, heartbeat_due, self._server.closing)

    async def _next_frames(self) -> list[bytes]:
        try:
            events = self._read_feed()
            if events is None:
                events = await self._read_store()
        except CursorExpired as missed:
            self._after = missed.last
            cursor = self._cursors.encode(missed.last)
            return [encode_frame(RESET_EVENT, cursor, CursorReset(cursor))]
        if events:
            self._after = self._cursors.number_of(events[-1])
        views = map(self._cursors.view, events)
        return [encode_frame(view.type, view.cursor, view) for view in views]

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
        return [event for event in own_events if self._cursors.number_of(event) > self._after]

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
            last, page = event_log.get_last_pos(reader), event_log.list_all_after(reader, self._after, limit)
            # Retention deletes the events of some streams earlier than others', which leaves gaps below that position.
            if self._after < retention.get_deleted_pos(reader):
                raise CursorExpired(last)
        else:
            last = event_log.get_last_seq(reader, self._stream)
            page = event_log.list_events_after(reader, self._stream, self._after, limit)
        next_number = self._cursors.number_of(page[0]) if page else last + 1
        if next_number != self._after + 1:
            raise CursorExpired(last)
        return page

    def _encode_heartbeat(self) -> bytes:
        cursor = self._cursors.encode(self._after)
        data = StreamHeartbeat(cursor=cursor, at=self._server.service.now().instant, version=__version__)
        return encode_frame(HEARTBEAT_EVENT, cursor, data)


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


def stream_response(server: ServerContext, principal: Principal, stream: str | None, after: int) -> Stream:
    """Answer with the events after the number `after`, as a stream. `stream` is None for all streams."""
    return Stream(Subscriber(server, principal, stream, after).frames(), media_type=EVENT_STREAM, headers=HEADERS)


def encode_frame(kind: str, cursor: str, data: msgspec.Struct) -> bytes:
    """Encode one server-sent event. A browser sends its id, the cursor, when it reconnects."""
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (cursor.encode(), kind.encode(), msgspec.json.encode(data))
