"""Cursors come back as the number that they were made of, in their own list only, and every other text is refused."""

from base64 import urlsafe_b64encode
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.domain.errors import Unusable
from greenroom.domain.event import Event
from greenroom.wire import cursor as wire_cursor
from greenroom.wire.cursor import StreamCursors
from greenroom.wire.requests import INTEGER_MAX

ROOM = "room:room_3erzls7f4nzyyoic"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

numbers = st.integers(0, INTEGER_MAX)
streams = st.one_of(st.none(), st.text(min_size=1, max_size=40))


def refusal(cursors: StreamCursors, cursor: str) -> str:
    """The detail with which a cursor is refused. The guidance says what to send instead."""
    with pytest.raises(Unusable) as refused:
        cursors.decode(cursor)
    assert refused.value.code == "invalid_request"
    assert "Send the `cursor` of the last event" in refused.value.guidance
    return refused.value.detail


def with_checksum(content: bytes) -> str:
    return urlsafe_b64encode(content + wire_cursor.CHECKSUM.pack(crc32(content))).decode()


@given(streams, numbers)
def test_cursor_round_trip(stream: str | None, number: int) -> None:
    cursor = StreamCursors(stream).encode(number)

    assert StreamCursors(stream).decode(cursor) == number
    assert set(cursor) <= set(ALPHABET)


@given(streams, streams, numbers)
def test_cursor_of_another_list_is_refused(stream: str | None, other: str | None, number: int) -> None:
    if stream != other:
        assert "another list" in refusal(StreamCursors(other), StreamCursors(stream).encode(number))


@given(numbers, st.data())
def test_damaged_cursor_is_refused(number: int, data: st.DataObject) -> None:
    """One other character, one too few or one too many."""
    cursor = StreamCursors(ROOM).encode(number)
    index = data.draw(st.integers(0, len(cursor) - 1))
    character = data.draw(st.sampled_from([each for each in ALPHABET if each != cursor[index]]))

    for damaged in (
        cursor[:index] + character + cursor[index + 1 :],
        cursor[:index] + cursor[index + 1 :],
        cursor[:index] + character + cursor[index:],
    ):
        assert "is no cursor" in refusal(StreamCursors(ROOM), damaged)


@given(st.one_of(numbers.map(str), st.text(max_size=60)))
def test_other_text_is_refused(text: str) -> None:
    for cursors in (StreamCursors(ROOM), StreamCursors(None)):
        assert "is no cursor" in refusal(cursors, text)


@pytest.mark.parametrize("text", ["", "0", "-1", "newest", " ", "é" * 24, "A" * 24, "A" * 10_000, "====", "\n"])
def test_text_that_is_no_cursor(text: str) -> None:
    assert "is no cursor" in refusal(StreamCursors(ROOM), text)


@pytest.mark.parametrize("padding", ["\n", " ", "=", "===="])
def test_cursor_with_padding_is_refused(padding: str) -> None:
    assert "is no cursor" in refusal(StreamCursors(ROOM), StreamCursors(ROOM).encode(7) + padding)


def test_standard_alphabet_is_refused() -> None:
    """A decoder of base64url takes `+` and `/`, too, but one place in a list has one cursor."""
    cursors = (StreamCursors(ROOM).encode(number) for number in range(1000))
    cursor = next(each for each in cursors if "-" in each or "_" in each)

    assert "is no cursor" in refusal(StreamCursors(ROOM), cursor.replace("-", "+").replace("_", "/"))


def test_cursor_of_another_version_is_refused() -> None:
    prefix = StreamCursors(ROOM)._prefix
    later = bytes([wire_cursor.VERSION + 1]) + prefix[1:] + wire_cursor.NUMBER.pack(7)

    assert "another version" in refusal(StreamCursors(ROOM), with_checksum(later))


def test_number_beyond_every_event_is_refused() -> None:
    """A database has no such number."""
    content = StreamCursors(ROOM)._prefix + wire_cursor.NUMBER.pack(2**63)

    assert "is no cursor" in refusal(StreamCursors(ROOM), with_checksum(content))


def test_first_format_is_kept() -> None:
    """Clients keep cursors across an upgrade of the server."""
    assert StreamCursors(None).decode("AQA26dJGAAAAAAAAAAeD0CYt") == 7
    assert StreamCursors(ROOM).decode("AQG3f90SAAAAAAAAAAjajLFW") == 8


def test_event_is_sent_with_cursor_of_its_list() -> None:
    event = Event(pos=9, stream=ROOM, seq=8, type="task.completed", at="a", cause="c", data={"task": "t"})
    of_room, of_all = StreamCursors(ROOM), StreamCursors(None)

    assert of_room.decode(of_room.view(event).cursor) == 8
    assert of_all.decode(of_all.view(event).cursor) == 9
    assert (of_room.view(event).pos, of_room.view(event).data) == (9, {"task": "t"})
