"""How a stream of events is followed over interruptions. Knows server-sent events; must not know what events mean."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from greenroom.client.transport import Response, Transport
from greenroom.domain.errors import Unavailable
from greenroom.domain.event import Event
from greenroom.domain.reliability import Reliability
from greenroom.entropy import Entropy

RESET = "reset"
SILENCES = 3
"""So many comments may stay away before the line counts as dead."""


class Reset(msgspec.Struct, frozen=True):
    """Events were missed: the cursor was older than what is kept. Take a new snapshot."""


class Frame(msgspec.Struct, frozen=True):
    """One server-sent event as it was spelled."""

    id: str
    kind: str
    data: str


def follow(
    transport: Transport,
    path: str,
    headers: Mapping[str, str],
    after: int,
    limits: Reliability,
    entropy: Entropy,
    check: Callable[[Response], object],
) -> Iterator[Event | Reset]:
    """Yield every event after the cursor, and go on after the last one when the line breaks.

    `check` raises what a refusal says. Unavailable is raised only before the first contact.
    """
    cursor = str(after)
    has_met = False
    while True:
        asked = {**headers, "Accept": "text/event-stream", "Last-Event-ID": cursor}
        try:
            head, lines = transport.stream(path, asked, SILENCES * limits.stream_comment_s)
            if head.status != 200:
                check(head)
            has_met = True
            for frame in frames(lines):
                cursor = frame.id or cursor
                yield Reset() if frame.kind == RESET else msgspec.json.decode(frame.data, type=Event)
        except Unavailable:
            if not has_met:
                raise
        threading.Event().wait(limits.retry_pause_for(limits.heartbeat_interval_s) * entropy.fraction())


def frames(lines: Iterable[bytes]) -> Iterator[Frame]:
    """Put lines together to events. Comments are passed over, and so is an event that the line broke off."""
    id, kind, data = "", "", list[str]()
    for line in lines:
        if not line:
            if data or kind:
                yield Frame(id, kind, "\n".join(data))
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
