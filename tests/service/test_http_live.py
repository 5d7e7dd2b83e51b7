"""Event streams: resumed without a gap, reset when that is impossible, and ended with the server."""

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
import pytest
from sqlalchemy import delete

from greenroom.domain.errors import StoreUnavailable
from greenroom.domain.reliability import Reliability
from greenroom.store import log
from greenroom.store.statement import Statement
from greenroom.store.transaction import Transaction
from tests.service.desk import Desk, Exchange
from tests.waiting import PATIENCE_S

ROOM = "/api/v1/rooms/r/events"
ALL = "/api/v1/events"
STREAM = {"accept": "text/event-stream"}
MESSAGE = {"sender": "user", "text": "do it"}
JOIN = "/api/v1/rooms/r/participants/builder/join"

FORGET_BEFORE = Statement(delete(log.events).where(log.events.c.pos < 4))


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Pages of 2 and a feed of 5 events: every way to catch up is used."""
    with Desk(Reliability(stream_page=2, feed_events_kept=5, stream_comment_s=60)) as made:
        made.room()
        made.join()
        yield made


def record(numbers: range, tx: Transaction) -> None:
    for number in numbers:
        tx.record("server", "test.event", "test", {"n": number})


def follow(desk: Desk, path: str, cursor: int | None = None) -> Exchange:
    headers = STREAM if cursor is None else {**STREAM, "last-event-id": str(cursor)}
    return desk.send("GET", path, headers=headers)


async def frames(stream: Exchange, count: int) -> list[dict[str, str]]:
    return [await stream.frame() for _ in range(count)]


def events_of(told: list[dict[str, str]]) -> list[Any]:
    return [msgspec.json.decode(frame["data"]) for frame in told]


@pytest.mark.parametrize("path", [ROOM, ALL])
def test_a_stream_tells_what_the_list_tells_and_then_what_happens(desk: Desk, path: str) -> None:
    for number in range(6):
        desk.say(f"request {number}")
    known = desk.get(path).json

    async def story() -> None:
        stream = follow(desk, path)
        told = await frames(stream, len(known))
        assert known == events_of(told)
        assert 200 == stream.status
        assert stream.headers["content-type"].startswith("text/event-stream")

        await desk.send("POST", "/api/v1/rooms/r/messages", MESSAGE).answer()
        live = await frames(stream, 2)

        assert {"message.sent", "task.opened"} == {frame["event"] for frame in live}
        stream.leave()
        await stream.answer()

    desk.run(story())
    numbered_by = "pos" if path == ALL else "seq"
    after = desk.get(path).json
    assert list(range(1, len(after) + 1)) == [event[numbered_by] for event in after]


def test_the_id_is_what_a_list_is_resumed_by(desk: Desk) -> None:
    desk.say()

    async def story() -> None:
        for path, number in ((ROOM, "seq"), (ALL, "pos")):
            stream = follow(desk, path)
            [first] = await frames(stream, 1)
            assert first["id"] == str(msgspec.json.decode(first["data"])[number])
            stream.leave()

    desk.run(story())


@pytest.mark.parametrize("path", [ROOM, ALL])
def test_a_stream_is_resumed_after_the_last_event_seen(desk: Desk, path: str) -> None:
    desk.say()
    known = desk.get(path).json

    async def story() -> None:
        by_header = follow(desk, f"{path}?after=0", cursor=2)  # A browser repeats its first URL.
        by_query = follow(desk, f"{path}?after=2")

        assert known[2:] == events_of(await frames(by_header, len(known) - 2))
        assert known[2:] == events_of(await frames(by_query, len(known) - 2))
        by_header.leave()
        by_query.leave()

    desk.run(story())


def test_events_of_other_rooms_are_not_told(desk: Desk) -> None:
    cursor = desk.look()["cursor"]
    desk.room("other")

    async def story() -> None:
        stream = follow(desk, ROOM, cursor)
        for _ in range(9):
            await desk.send("POST", "/api/v1/rooms/other/messages", MESSAGE).answer()
        await desk.send("POST", "/api/v1/rooms/r/messages", MESSAGE).answer()

        [first] = await frames(stream, 1)

        assert str(cursor + 1) == first["id"]
        stream.leave()

    desk.run(story())


def test_a_slow_reader_misses_nothing(desk: Desk) -> None:
    """Far more events are recorded than the feed keeps before the stream is read: the rest comes from the store."""

    async def story() -> None:
        cursor = desk.world.feed.last_pos
        stream = follow(desk, ALL, cursor)
        async with asyncio.timeout(PATIENCE_S):
            while not desk.doors.tally.streams:
                await desk.send("GET", "/healthz").answer()
        for first in (0, 30):
            desk.store.run(partial(record, range(first, first + 30)))

        told = events_of(await frames(stream, 60))

        assert list(range(60)) == [event["data"]["n"] for event in told]
        stream.leave()

    desk.run(story())


@pytest.mark.parametrize("path", [ROOM, ALL])
def test_a_cursor_from_the_future_is_reset(desk: Desk, path: str) -> None:
    last = len(desk.get(path).json)

    async def story() -> None:
        stream = follow(desk, path, 999_999)
        reset = await stream.frame()
        assert ("reset", str(last)) == (reset["event"], reset["id"])

        await desk.send("POST", "/api/v1/rooms/r/messages", MESSAGE).answer()
        assert str(last + 1) == (await stream.frame())["id"]
        stream.leave()

    desk.run(story())


def test_a_cursor_older_than_what_is_kept_is_reset(desk: Desk) -> None:
    desk.say()
    desk.store.run(lambda tx: tx.change(FORGET_BEFORE))

    async def story() -> None:
        old, young = follow(desk, ALL, 2), follow(desk, ALL, 3)
        assert "reset" == (await old.frame())["event"]
        assert "4" == (await young.frame())["id"]
        old.leave()
        young.leave()

    desk.run(story())


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "9" * 40])
def test_an_id_that_was_never_given_is_refused(desk: Desk, cursor: str) -> None:
    assert 400 == desk.get(ROOM, headers={**STREAM, "last-event-id": cursor}).status


def test_an_unknown_room_has_no_stream(desk: Desk) -> None:
    assert 404 == desk.get("/api/v1/rooms/nowhere/events", headers=STREAM).status


def test_streams_end_with_the_server(desk: Desk) -> None:
    async def story() -> None:
        streams = [follow(desk, path) for path in (ROOM, ALL)]
        for stream in streams:
            await stream.frame()
        desk.doors.closing.set()

        for stream in streams:
            assert 200 == (await stream.answer()).status

    desk.run(story())
    assert 0 == desk.doors.tally.streams


def test_a_stream_ends_when_the_store_fails(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client reconnects with the cursor it has; a stream that stayed open would look as if nothing happened."""

    def fail(_: object) -> None:
        raise StoreUnavailable("The disk is gone.", "Put it back.")

    async def story() -> None:
        monkeypatch.setattr(desk.store, "read", fail)
        assert 200 == (await follow(desk, ALL).answer()).status

    desk.run(story())


def test_a_reader_that_leaves_is_forgotten(desk: Desk) -> None:
    async def story() -> None:
        stream = follow(desk, ROOM)
        await stream.frame()
        assert 1 == desk.doors.tally.streams
        stream.leave()
        await stream.answer()

    desk.run(story())
    assert 0 == desk.doors.tally.streams


def test_silence_is_filled_with_comments() -> None:
    with Desk(Reliability(stream_comment_s=0.01)) as desk:

        async def story() -> None:
            stream = follow(desk, ALL, desk.world.feed.last_pos)
            async with asyncio.timeout(PATIENCE_S):
                for _ in range(3):
                    assert b":" == (await stream.chunks.get() or b"")[:1]
            stream.leave()

        desk.run(story())


def test_the_transition_of_a_machine_reaches_a_live_reader(desk: Desk) -> None:
    desk.put("/api/v1/machines/m1", {"name": "m1", "harnesses": []})
    beat = {"incarnation": "i1", "agents": []}
    desk.post("/api/v1/machines/m1/heartbeat", beat)
    desk.pass_time(desk.limits.daemon_heartbeat_ttl_s + 2)
    cursor = len(desk.get("/api/v1/machines/m1/events").json)

    async def story() -> None:
        stream = follow(desk, "/api/v1/machines/m1/events", cursor)
        await desk.send("POST", "/api/v1/machines/m1/heartbeat", beat).answer()

        assert "machine.reconnected" == (await stream.frame())["event"]
        stream.leave()

    desk.run(story())
