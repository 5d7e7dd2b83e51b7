"""Follows a stream of server-sent events across interruptions.

Options: `stream_heartbeat_s` (three heartbeats missing end a connection) and `retry_pause_s`.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from greenroom.client.http_transport import Response, Transport
from greenroom.domain.errors import Unavailable
from greenroom.domain.limits import Limits
from greenroom.entropy import Entropy
from greenroom.wire.replies import HEARTBEAT_EVENT, RESET_EVENT, EventView

MISSED_HEARTBEATS_MAX = 3
"""After so many missing heartbeats the connection counts as lost."""


class StreamReset(msgspec.Struct, frozen=True):
    """Events were missed: the cursor was older than the events that are kept. Read a new snapshot."""


class SseFrame(msgspec.Struct, frozen=True):
    """One server-sent event as it was sent."""

    id: str
    kind: str
    data: str


def follow_events(
    transport: Transport,
    path: str,
    headers: Mapping[str, str],
    after: str | None,
    limits: Limits,
    entropy: Entropy,
    check: Callable[[Response], object],
) -> Iterator[EventView | StreamReset]:
    """Yield every event after the cursor, and continue after the last one when the connection breaks.

    Without a cursor the stream begins as the path's query says, and continues after the cursor of its first heartbeat.
    `check` raises the error of a refusal. Unavailable is raised only before the first successful connection.
    """
    cursor = after
    has_connected = False
    while True:
        request_headers = {**headers, "Accept": "text/event-stream"}
        if cursor is not None:
            request_headers["Last-Event-ID"] = cursor
        try:
            head, lines = transport.stream(path, request_headers, MISSED_HEARTBEATS_MAX * limits.stream_heartbeat_s)
            if head.status != 200:
                check(head)
            has_connected = True
            for frame in parse_frames(lines):
                cursor = frame.id or cursor
                if frame.kind != HEARTBEAT_EVENT:
                    is_reset = frame.kind == RESET_EVENT
                    yield StreamReset() if is_reset else msgspec.json.decode(frame.data, type=EventView)
        except Unavailable:
            if not has_connected:
                raise
        threading.Event().wait(limits.retry_pause_for(limits.heartbeat_interval_s) * entropy.fraction())


def parse_frames(lines: Iterable[bytes]) -> Iterator[SseFrame]:
    """Assemble lines into events. Comments are skipped, and so is an event that the connection cut off."""
    id, kind, data = "", "", list[str]()
    for line in lines:
        if not line:
            if data or kind:
                yield SseFrame(id, kind, "\n".join(data))
            kind, data = "", []
            continue
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        match name:
            case "id":
                id = value
            case "event":
                kind = value
            case "data":
                data.append(value)
