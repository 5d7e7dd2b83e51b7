"""Event streams: resumed without a gap, reset when that is impossible, and ended with the server."""

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
import pytest
from sqlalchemy import delete

from greenroom import __version__
from greenroom.clock import format_instant
from greenroom.domain.errors import StoreUnavailable
from greenroom.domain.limits import Limits
from greenroom.store import event_log
from greenroom.store.compiled_sql import Statement
from greenroom.store.transaction import Transaction
from greenroom.wire.cursor import StreamCursors
from tests.service.in_process_server import AsgiExchange, InProcessServer
from tests.waiting import PATIENCE_S

ROOM_EVENTS = "/api/v1/rooms/r/events"
ALL_EVENTS = "/api/v1/events"
STREAM = {"accept": "text/event-stream"}
MESSAGE = {"sender": "user", "text": "do it"}
JOIN = "/api/v1/rooms/r/participants/builder/join"

DELETE_OLD_EVENTS = Statement(delete(event_log.events).where(event_log.events.c.pos < 4))


@pytest.fixture
def server() -> Iterator[InProcessServer]:
    """Pages of 2 and a feed of 5 events: every way to catch up is used."""
    with InProcessServer(Limits(stream_page=2, feed_events_kept=5, stream_heartbeat_s=60)) as new_server:
        new_server.create_room()
        new_server.join()
        yield new_server


def record_events(numbers: range, tx: Transaction) -> None:
    for number in numbers:
        tx.record_event("server", "test.event", "test", {"n": number})


def open_stream(server: InProcessServer, path: str, cursor: str | None = None) -> AsgiExchange:
    headers = STREAM if cursor is None else {**STREAM, "last-event-id": cursor}
    return server.send("GET", path, headers=headers)


def cursors_of(server: InProcessServer, path: str) -> StreamCursors:
    """The cursors of the list at that path."""
    return StreamCursors(None if path == ALL_EVENTS else server.get(f"{path}?limit=1").json[0]["stream"])


async def read_frames(stream: AsgiExchange, count: int) -> list[dict[str, str]]:
    return [await stream.next_event() for _ in range(count)]


def decode_events(received: list[dict[str, str]]) -> list[Any]:
    return [msgspec.json.decode(frame["data"]) for frame in received]


@pytest.mark.parametrize("path", [ROOM_EVENTS, ALL_EVENTS])
def test_stream_sends_past_then_live_events(server: InProcessServer, path: str) -> None:
    for number in range(6):
        server.send_message(f"request {number}")
    listed = server.get(path).json

    async def scenario() -> None:
        stream = open_stream(server, path)
        received = await read_frames(stream, len(listed))
        assert listed == decode_events(received)
        assert 200 == stream.status
        assert stream.headers["content-type"].startswith("text/event-stream")

        await server.send("POST", "/api/v1/rooms/r/messages", MESSAGE).response()
        live_frames = await read_frames(stream, 2)

        assert {"message.sent", "task.opened"} == {frame["event"] for frame in live_frames}
        stream.disconnect()
        await stream.response()

    server.run(scenario())
    numbered_by = "pos" if path == ALL_EVENTS else "seq"
    after = server.get(path).json
    assert list(range(1, len(after) + 1)) == [event[numbered_by] for event in after]


def test_frame_id_is_cursor(server: InProcessServer) -> None:
    server.send_message()
    cursors = {path: cursors_of(server, path) for path in (ROOM_EVENTS, ALL_EVENTS)}

    async def scenario() -> None:
        for path, number in ((ROOM_EVENTS, "seq"), (ALL_EVENTS, "pos")):
            stream = open_stream(server, path)
            [first] = await read_frames(stream, 1)
            event = msgspec.json.decode(first["data"])
            assert first["id"] == event["cursor"] == cursors[path].encode(event[number])
            stream.disconnect()

    server.run(scenario())


@pytest.mark.parametrize("path", [ROOM_EVENTS, ALL_EVENTS])
def test_list_goes_on_after_cursor(server: InProcessServer, path: str) -> None:
    server.send_message()
    listed = server.get(path).json

    pages = [page := server.get(f"{path}?limit=2").json]
    while page:
        pages.append(page := server.get(f"{path}?limit=2&after={page[-1]['cursor']}").json)

    assert len(listed) > 2
    assert listed == [event for page in pages for event in page]


@pytest.mark.parametrize("path", [ROOM_EVENTS, ALL_EVENTS])
def test_list_begins_with_newest(server: InProcessServer, path: str) -> None:
    server.send_message()
    listed = server.get(path).json

    assert listed[-2:] == server.get(f"{path}?newest=2").json
    assert listed[-2:-1] == server.get(f"{path}?newest=2&limit=1").json
    assert listed == server.get(f"{path}?newest=9999").json
    assert [] == server.get(f"{path}?newest=0").json


@pytest.mark.parametrize("path", [ROOM_EVENTS, ALL_EVENTS])
def test_stream_begins_with_newest(server: InProcessServer, path: str) -> None:
    listed = server.get(path).json

    async def scenario() -> None:
        now, earlier = open_stream(server, f"{path}?newest=0"), open_stream(server, f"{path}?newest=1")
        heartbeat = await now.next_frame()
        assert ("heartbeat", listed[-1]["cursor"]) == (heartbeat["event"], heartbeat["id"])
        assert listed[-1:] == decode_events(await read_frames(earlier, 1))
        await server.send("POST", "/api/v1/rooms/r/messages", MESSAGE).response()
        assert await read_frames(now, 2) == await read_frames(earlier, 2)
        now.disconnect()
        earlier.disconnect()

    server.run(scenario())


@pytest.mark.parametrize("path", [ROOM_EVENTS, ALL_EVENTS])
def test_stream_resumes_after_cursor(server: InProcessServer, path: str) -> None:
    server.send_message()
    listed = server.get(path).json

    async def scenario() -> None:
        cursor = listed[1]["cursor"]
        # A browser repeats its first URL.
        by_header = open_stream(server, f"{path}?after={listed[0]['cursor']}", cursor)
        by_query = open_stream(server, f"{path}?after={cursor}")

        assert listed[2:] == decode_events(await read_frames(by_header, len(listed) - 2))
        assert listed[2:] == decode_events(await read_frames(by_query, len(listed) - 2))
        by_header.disconnect()
        by_query.disconnect()

    server.run(scenario())


def test_room_stream_excludes_other_rooms(server: InProcessServer) -> None:
    cursor = server.show_room()["cursor"]
    cursors = cursors_of(server, ROOM_EVENTS)
    following = cursors.encode(cursors.decode(cursor) + 1)
    server.create_room("other")

    async def scenario() -> None:
        stream = open_stream(server, ROOM_EVENTS, cursor)
        for _ in range(9):
            await server.send("POST", "/api/v1/rooms/other/messages", MESSAGE).response()
        await server.send("POST", "/api/v1/rooms/r/messages", MESSAGE).response()

        [first] = await read_frames(stream, 1)

        assert following == first["id"]
        stream.disconnect()

    server.run(scenario())


def test_slow_reader_misses_no_event(server: InProcessServer) -> None:
    """Far more events are recorded than the feed keeps before the stream is read: the rest comes from the store."""

    async def scenario() -> None:
        stream = open_stream(server, f"{ALL_EVENTS}?newest=0")
        assert "heartbeat" == (await stream.next_frame())["event"]
        for first in (0, 30):
            server.store.run(partial(record_events, range(first, first + 30)))

        received = decode_events(await read_frames(stream, 60))

        assert list(range(60)) == [event["data"]["n"] for event in received]
        stream.disconnect()

    server.run(scenario())


@pytest.mark.parametrize("path", [ROOM_EVENTS, ALL_EVENTS])
def test_future_cursor_is_reset(server: InProcessServer, path: str) -> None:
    last = server.get(path).json[-1]["cursor"]
    cursors = cursors_of(server, path)

    async def scenario() -> None:
        stream = open_stream(server, path, cursors.encode(999_999))
        reset = await stream.next_event()
        assert ("reset", last) == (reset["event"], reset["id"])
        assert {"cursor": last} == msgspec.json.decode(reset["data"])

        await server.send("POST", "/api/v1/rooms/r/messages", MESSAGE).response()
        assert cursors.encode(cursors.decode(last) + 1) == (await stream.next_event())["id"]
        stream.disconnect()

    server.run(scenario())


def test_expired_cursor_is_reset(server: InProcessServer) -> None:
    server.send_message()
    cursors = [event["cursor"] for event in server.get(ALL_EVENTS).json]
    server.store.run(lambda tx: tx.execute(DELETE_OLD_EVENTS))

    async def scenario() -> None:
        old, young = open_stream(server, ALL_EVENTS, cursors[1]), open_stream(server, ALL_EVENTS, cursors[2])
        assert "reset" == (await old.next_event())["event"]
        assert cursors[3] == (await young.next_event())["id"]
        old.disconnect()
        young.disconnect()

    server.run(scenario())


@pytest.mark.parametrize("path", [ROOM_EVENTS, ALL_EVENTS, "/api/v1/machines/m1/events"])
@pytest.mark.parametrize("cursor", ["x", "-1", "0", "2", "9" * 40, "of room r", "of room other", "of all", "damaged"])
def test_invalid_cursor_is_rejected(server: InProcessServer, path: str, cursor: str) -> None:
    server.put("/api/v1/machines/m1", {"name": "m1", "harnesses": []})
    server.create_room("other")
    cursors = {
        "of room r": server.show_room()["cursor"],
        "of room other": server.show_room("other")["cursor"],
        "of all": server.get(ALL_EVENTS).json[-1]["cursor"],
        "damaged": server.get(path).json[-1]["cursor"][:-1],
    }
    is_own = (path, cursor) in ((ROOM_EVENTS, "of room r"), (ALL_EVENTS, "of all"))
    sent = cursors.get(cursor, cursor)

    listed = server.get(f"{path}?after={sent}")

    if is_own:
        assert 200 == listed.status
        return
    for answer in (
        listed,
        server.get(f"{path}?after={sent}", headers=STREAM),
        server.get(path, headers={**STREAM, "last-event-id": sent}),
    ):
        assert (400, "invalid_request") == (answer.status, answer.json["code"])
        assert "Send the `cursor` of the last event" in answer.json["guidance"]


def test_stream_of_unknown_room_is_404(server: InProcessServer) -> None:
    assert 404 == server.get("/api/v1/rooms/nowhere/events", headers=STREAM).status


def test_streams_end_when_server_stops(server: InProcessServer) -> None:
    async def scenario() -> None:
        streams = [open_stream(server, path) for path in (ROOM_EVENTS, ALL_EVENTS)]
        for stream in streams:
            await stream.next_event()
        server.context.closing.set()

        for stream in streams:
            assert 200 == (await stream.response()).status

    server.run(scenario())
    assert 0 == server.context.counters.streams


def test_stream_ends_when_store_fails(server: InProcessServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client reconnects with the cursor it has; a stream that stayed open would look as if nothing happened."""

    def fail(_: object) -> None:
        raise StoreUnavailable("The disk is gone.", "Put it back.")

    async def scenario() -> None:
        monkeypatch.setattr(server.store, "read", fail)
        assert 200 == (await open_stream(server, ALL_EVENTS).response()).status

    server.run(scenario())


def test_disconnected_reader_is_removed(server: InProcessServer) -> None:
    async def scenario() -> None:
        stream = open_stream(server, ROOM_EVENTS)
        await stream.next_event()
        assert 1 == server.context.counters.streams
        stream.disconnect()
        await stream.response()

    server.run(scenario())
    assert 0 == server.context.counters.streams


def test_idle_stream_sends_heartbeats() -> None:
    with InProcessServer(Limits(stream_heartbeat_s=0.01)) as server:
        server.create_room()
        cursor = server.show_room()["cursor"]

        async def scenario() -> None:
            stream = open_stream(server, ROOM_EVENTS, cursor)
            for _ in range(3):
                heartbeat = await stream.next_frame()
                assert ("heartbeat", cursor) == (heartbeat["event"], heartbeat["id"])
                assert {
                    "cursor": cursor,
                    "at": format_instant(server.clock.wall()),
                    "version": __version__,
                } == msgspec.json.decode(heartbeat["data"])
            stream.disconnect()

        server.run(scenario())


def test_quiet_stream_sends_heartbeats_on_busy_server() -> None:
    """Each commit wakes every reader, also that of a room in which nothing happens."""
    with InProcessServer(Limits(stream_heartbeat_s=0.1)) as server:
        server.create_room()
        server.create_room("other")

        async def scenario() -> None:
            stream = open_stream(server, f"{ROOM_EVENTS}?newest=0")
            async with asyncio.timeout(PATIENCE_S):
                while stream.chunks.qsize() < 3:
                    await server.send("POST", "/api/v1/rooms/other/messages", MESSAGE).response()
            stream.disconnect()

        server.run(scenario())


@pytest.mark.parametrize("path", [ROOM_EVENTS, ALL_EVENTS])
def test_heartbeat_has_cursor_of_last_event(path: str) -> None:
    """A reader that reconnects with the id of a heartbeat misses nothing, and gets nothing twice."""
    with InProcessServer(Limits(stream_heartbeat_s=0.01)) as server:
        server.create_room()

        async def scenario() -> None:
            stream = open_stream(server, f"{path}?newest=0")
            assert "heartbeat" == (await stream.next_frame())["event"]
            await server.send("POST", "/api/v1/rooms/r/messages", MESSAGE).response()
            sent = await read_frames(stream, 2)
            heartbeat = await stream.next_frame()
            assert ("heartbeat", sent[-1]["id"]) == (heartbeat["event"], heartbeat["id"])
            stream.disconnect()
            again = open_stream(server, path, heartbeat["id"])
            await server.send("POST", "/api/v1/rooms/r/messages", MESSAGE).response()
            [first] = await read_frames(again, 1)
            assert (decode_events(sent)[-1]["pos"] + 1) == decode_events([first])[0]["pos"]
            again.disconnect()

        server.run(scenario())


def test_machine_stream_sends_reconnect(server: InProcessServer) -> None:
    server.put("/api/v1/machines/m1", {"name": "m1", "harnesses": []})
    beat = {"incarnation": "i1", "agents": []}
    server.post("/api/v1/machines/m1/heartbeat", beat)
    server.pass_time(server.limits.daemon_heartbeat_ttl_s + 2)
    cursor = server.get("/api/v1/machines/m1/events").json[-1]["cursor"]

    async def scenario() -> None:
        stream = open_stream(server, "/api/v1/machines/m1/events", cursor)
        await server.send("POST", "/api/v1/machines/m1/heartbeat", beat).response()

        assert "machine.reconnected" == (await stream.next_event())["event"]
        stream.disconnect()

    server.run(scenario())
