"""Encodes where a reader of events is as an opaque cursor, and decodes it. No other module knows the format.

A cursor belongs to one list of events: those of one stream, or those of all streams. It is base64url without padding
of 18 bytes: version, kind of the list, 4 bytes of the hash of the stream's name, the number of the last event that the
reader has (8 bytes), and a checksum (4 bytes). It names nothing that only one server knows, so another server of the
same store, or another version, can go on from it. It is no secret and grants nothing.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2s
from struct import Struct
from typing import Final
from zlib import crc32

import msgspec

from greenroom.domain.errors import Unusable
from greenroom.domain.event import Event
from greenroom.wire.replies import EventView
from greenroom.wire.requests import INTEGER_MAX

VERSION: Final = 1
ALL_STREAMS: Final = 0
ONE_STREAM: Final = 1
HASH_BYTES: Final = 4

LIST: Final = Struct(f">BB{HASH_BYTES}s")
NUMBER: Final = Struct(">Q")
CHECKSUM: Final = Struct(">I")

GUIDANCE: Final = "Send the `cursor` of the last event that you have of this list, or no cursor to begin at the start."


class StreamCursors:
    """The cursors of one list of events: those of `stream`, numbered by `seq`, or (None) all, numbered by `pos`."""

    def __init__(self, stream: str | None) -> None:
        self._is_all = stream is None
        name_hash = blake2s((stream or "").encode(), digest_size=HASH_BYTES).digest()
        self._prefix = LIST.pack(VERSION, ALL_STREAMS if self._is_all else ONE_STREAM, name_hash)

    def number_of(self, event: Event) -> int:
        """Return the number of an event in this list."""
        return event.pos if self._is_all else event.seq

    def encode(self, number: int) -> str:
        """Return the cursor after the event of that number; 0 is the start."""
        content = self._prefix + NUMBER.pack(number)
        return urlsafe_b64encode(content + CHECKSUM.pack(crc32(content))).decode()

    def decode(self, cursor: str) -> int:
        """Return the number of the event after which the reader goes on. Raises Unusable for any other text."""
        content = decode_content(cursor)
        if content is None:
            raise Unusable(f"{cursor[:40]!r} is no cursor.", GUIDANCE)
        if not content.startswith(self._prefix):
            raise Unusable("This cursor is of another list of events, or of another version of Greenroom.", GUIDANCE)
        [number] = NUMBER.unpack_from(content, LIST.size)
        return int(number)

    def view(self, event: Event) -> EventView:
        """Return an event with its cursor, as it is sent."""
        return EventView(*msgspec.structs.astuple(event), cursor=self.encode(self.number_of(event)))


def decode_content(cursor: str) -> bytes | None:
    """Return what stands before the checksum; None if that is wrong, or the text is not what `encode` makes of it."""
    try:
        data = urlsafe_b64decode(cursor)
    except ValueError:
        return None
    content, checksum = data[: -CHECKSUM.size], data[-CHECKSUM.size :]
    is_intact = len(content) == LIST.size + NUMBER.size and checksum == CHECKSUM.pack(crc32(content))
    if not is_intact or urlsafe_b64encode(data).decode() != cursor:
        return None
    [number] = NUMBER.unpack_from(content, LIST.size)
    return content if number <= INTEGER_MAX else None
