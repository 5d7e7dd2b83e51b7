"""Health, readiness, metrics and the OpenAPI document; and the answers when something fails."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from greenroom.domain.errors import StoreOverloaded, StoreUnavailable
from greenroom.domain.reliability import Reliability
from greenroom.server.routes import OPERATIONS
from greenroom.service import rooms
from tests.service.desk import Desk
from tests.waiting import PATIENCE_S


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Desk() as made:
        made.room()
        yield made


def test_healthy_while_the_loops_run(desk: Desk) -> None:
    desk.pass_time(60)

    answer = desk.get("/healthz", token=None)

    assert (200, {"status": "ok", "late": []}) == (answer.status, answer.json)


def test_late_loops_are_named(desk: Desk) -> None:
    desk.clock.move(desk.limits.healer_late_s + 1)

    answer = desk.get("/healthz", token=None)

    assert (503, ["sweep", "record", "feed"]) == (answer.status, answer.json["late"])


def test_a_sweep_that_always_raises_is_late(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ValueError("the sweep is broken")

    monkeypatch.setattr("greenroom.service.sweeping.tick", fail)
    desk.pass_time(desk.limits.healer_late_s + 2)

    assert ["sweep"] == desk.get("/healthz").json["late"]
    assert desk.doors.healing.sweep.failures > 10


def test_a_sweep_whose_words_are_never_written_is_late(desk: Desk) -> None:
    desk.world.healer.is_recording = True
    desk.pass_time(desk.limits.healer_late_s + 2)

    assert ["record"] == desk.get("/healthz").json["late"]


def test_the_loops_run_by_themselves_until_the_server_stops() -> None:
    with Desk(Reliability(sweep_interval_s=0.005)) as desk:

        async def story() -> None:
            loops = asyncio.create_task(desk.doors.healing.run())
            async with asyncio.timeout(PATIENCE_S):
                while desk.doors.tally.sweeps < 3:
                    await desk.send("POST", "/api/v1/rooms", {"name": "s", "roles": ["a"]}).answer()
                while "room.created" not in desk.doors.tally.transitions:
                    await desk.send("GET", "/healthz").answer()
            desk.doors.closing.set()
            async with asyncio.timeout(PATIENCE_S):
                await loops

        desk.run(story())


def test_ready_while_the_store_commits(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 200 == desk.get("/readyz", token=None).status
    broken(desk, monkeypatch, StoreUnavailable("The disk is full.", "Make room."))
    assert 503 == desk.get("/readyz", token=None).status


def test_not_ready_while_stopping(desk: Desk) -> None:
    desk.doors.closing.set()

    assert 503 == desk.get("/readyz", token=None).status


def broken(desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Make every write and every read of the store fail."""

    def fail(_: object) -> Any:
        raise error

    monkeypatch.setattr(desk.store, "write", fail)
    monkeypatch.setattr(desk.store, "read", fail)


@pytest.mark.parametrize("kind", [StoreUnavailable, StoreOverloaded])
def test_a_store_that_fails_is_503_and_beats_go_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, kind: type[StoreUnavailable]
) -> None:
    desk.join()
    broken(desk, monkeypatch, kind("It does not commit.", "Send it again."))

    write = desk.post("/api/v1/rooms", {"name": "s", "roles": ["a"]})
    read = desk.get("/api/v1/rooms/r")

    for answer in (write, read):
        assert (503, kind.code) == (answer.status, answer.json["code"])
        assert "1" == answer.headers["retry-after"]
    assert "ok" == desk.beat()["status"]


def test_what_nobody_foresaw_is_logged_and_not_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> Any:
        raise KeyError("a secret of the server")

    monkeypatch.setattr(rooms, "snapshot", fail)
    with caplog.at_level(logging.ERROR):
        answer = desk.get("/api/v1/rooms/r")

    assert (500, "internal") == (answer.status, answer.json["code"])
    assert b"secret" not in answer.body
    assert "a secret of the server" in caplog.text


def test_too_many_questions_at_once_are_turned_away() -> None:
    with Desk(Reliability(reads_waiting_max=1)) as desk:

        async def story() -> list[int]:
            asked = [desk.send("GET", "/api/v1/rooms") for _ in range(3)]
            return [(await each.answer()).status for each in asked]

        assert [200, 503, 503] == desk.run(story())


def test_numbers_for_prometheus(desk: Desk) -> None:
    desk.join()
    desk.beat()
    desk.beat(connection="nobody")
    desk.pass_time(2)

    page = desk.get("/metrics")

    assert page.headers["content-type"].startswith("text/plain")
    lines = page.body.decode().splitlines()
    for line in (
        'greenroom_beats_total{of="agent",verdict="ok"} 1.0',
        'greenroom_beats_total{of="agent",verdict="rejoin_required"} 1.0',
        'greenroom_transitions_total{type="participant.joined"} 1.0',
        "greenroom_participants 1.0",
        "greenroom_sweeps_total 2.0",
        "greenroom_writer_queue 0.0",
        'greenroom_loop_age_seconds{loop="sweep"} 0.0',
    ):
        assert line in lines


def test_the_description_has_every_call(desk: Desk) -> None:
    told = desk.get("/openapi.json", token=None).json

    described = {(path, method) for path, methods in told["paths"].items() for method in methods}
    assert {(call.path, str(call.method.value).lower()) for call in OPERATIONS} == described
    assert all(methods["summary"] for path in told["paths"].values() for methods in path.values())
    assert not told["components"]["schemas"]["CreateRoom"]["additionalProperties"]
    assert 64 == told["components"]["schemas"]["CreateRoom"]["properties"]["roles"]["items"]["maxLength"]


def test_every_reference_of_the_description_leads_somewhere(desk: Desk) -> None:
    told = desk.get("/openapi.json").json
    names = set(told["components"]["schemas"])

    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "$ref":
                    yield value
                else:
                    yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    found = {reference.removeprefix("#/components/schemas/") for reference in references(told)}
    assert found
    assert found <= names


def test_answers_are_as_described(desk: Desk) -> None:
    """A field that is in an answer but not in its schema would surprise every generated client."""
    schemas = desk.get("/openapi.json").json["components"]["schemas"]
    desk.join()
    said = desk.say()
    claimed = desk.claim().json

    for name, document in (
        ("RoomView", desk.look()),
        ("MessageReply", said),
        ("ClaimedTask", claimed),
        ("HeartbeatReply", desk.beat()),
        ("Task", desk.act(claimed, "complete").json),
        ("Problem", desk.get("/api/v1/nothing").json),
    ):
        assert set(document) <= set(schemas[name]["properties"]), name
        assert set(schemas[name]["required"]) <= set(document), name
    assert msgspec.json.encode(schemas)


def test_the_limits_in_force_are_told_by_name(desk: Desk) -> None:
    told = desk.get("/api/v1/limits").json

    assert msgspec.structs.asdict(desk.limits) == told
