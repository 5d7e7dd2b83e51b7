"""Health, readiness, metrics and the OpenAPI document; and the answers when something fails."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from greenroom.domain.errors import StoreOverloaded, StoreUnavailable
from greenroom.domain.limits import Limits
from greenroom.server.routes import OPERATIONS
from greenroom.service import rooms
from tests.service.in_process_server import InProcessServer
from tests.waiting import PATIENCE_S


@pytest.fixture
def server() -> Iterator[InProcessServer]:
    with InProcessServer() as new_server:
        new_server.create_room()
        yield new_server


def test_healthy_while_loops_run(server: InProcessServer) -> None:
    server.pass_time(60)

    answer = server.get("/healthz", token=None)

    assert (200, {"status": "ok", "late": []}) == (answer.status, answer.json)


def test_healthz_names_late_loops(server: InProcessServer) -> None:
    server.clock.advance(server.limits.loop_late_after_s + 1)

    answer = server.get("/healthz", token=None)

    assert (503, ["sweep", "record", "feed"]) == (answer.status, answer.json["late"])


def test_failing_sweep_is_late(server: InProcessServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ValueError("the sweep is broken")

    monkeypatch.setattr("greenroom.service.sweeper.tick", fail)
    server.pass_time(server.limits.loop_late_after_s + 2)

    assert ["sweep"] == server.get("/healthz").json["late"]
    assert server.context.background.sweep.failures > 10


def test_unrecorded_sweep_is_late(server: InProcessServer) -> None:
    server.service_context.sweep.is_recording = True
    server.pass_time(server.limits.loop_late_after_s + 2)

    assert ["record"] == server.get("/healthz").json["late"]


def test_loops_run_until_server_stops() -> None:
    with InProcessServer(Limits(sweep_interval_s=0.005)) as server:

        async def scenario() -> None:
            loops = asyncio.create_task(server.context.background.run())
            async with asyncio.timeout(PATIENCE_S):
                while server.context.counters.sweeps < 3:
                    await server.send("POST", "/api/v1/rooms", {"name": "s", "roles": ["a"]}).response()
                while "room.created" not in server.context.counters.transitions:
                    await server.send("GET", "/healthz").response()
            server.context.closing.set()
            async with asyncio.timeout(PATIENCE_S):
                await loops

        server.run(scenario())


def test_ready_while_store_commits(server: InProcessServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 200 == server.get("/readyz", token=None).status
    break_store(server, monkeypatch, StoreUnavailable("The disk is full.", "Make room."))
    assert 503 == server.get("/readyz", token=None).status


def test_not_ready_while_stopping(server: InProcessServer) -> None:
    server.context.closing.set()

    assert 503 == server.get("/readyz", token=None).status


def break_store(server: InProcessServer, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Make every write and every read of the store fail."""

    def fail(_: object) -> Any:
        raise error

    monkeypatch.setattr(server.store, "write", fail)
    monkeypatch.setattr(server.store, "read", fail)


@pytest.mark.parametrize("kind", [StoreUnavailable, StoreOverloaded])
def test_store_failure_is_503_and_beats_work(
    server: InProcessServer, monkeypatch: pytest.MonkeyPatch, kind: type[StoreUnavailable]
) -> None:
    server.join()
    break_store(server, monkeypatch, kind("It does not commit.", "Send it again."))

    write = server.post("/api/v1/rooms", {"name": "s", "roles": ["a"]})
    read = server.get("/api/v1/rooms/r")

    for answer in (write, read):
        assert (503, kind.code) == (answer.status, answer.json["code"])
        assert "1" == answer.headers["retry-after"]
    assert "ok" == server.beat()["status"]


def test_unexpected_error_is_logged_not_sent(
    server: InProcessServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> Any:
        raise KeyError("a secret of the server")

    monkeypatch.setattr(rooms, "get_room_view", fail)
    with caplog.at_level(logging.ERROR):
        answer = server.get("/api/v1/rooms/r")

    assert (500, "internal") == (answer.status, answer.json["code"])
    assert b"secret" not in answer.body
    assert "a secret of the server" in caplog.text


def test_read_queue_limit() -> None:
    with InProcessServer(Limits(reads_waiting_max=1)) as server:

        async def scenario() -> list[int]:
            exchanges = [server.send("GET", "/api/v1/rooms") for _ in range(3)]
            return [(await each.response()).status for each in exchanges]

        assert [200, 503, 503] == server.run(scenario())


def test_prometheus_metrics(server: InProcessServer) -> None:
    server.join()
    server.beat()
    server.beat(connection="unknown")
    server.pass_time(2)

    page = server.get("/metrics")

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


def test_openapi_has_every_operation(server: InProcessServer) -> None:
    document = server.get("/openapi.json", token=None).json

    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert {(call.path, str(call.method.value).lower()) for call in OPERATIONS} == described
    assert all(methods["summary"] for path in document["paths"].values() for methods in path.values())
    assert not document["components"]["schemas"]["CreateRoom"]["additionalProperties"]
    assert 64 == document["components"]["schemas"]["CreateRoom"]["properties"]["roles"]["items"]["maxLength"]


def test_openapi_references_resolve(server: InProcessServer) -> None:
    document = server.get("/openapi.json").json
    names = set(document["components"]["schemas"])

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

    found = {reference.removeprefix("#/components/schemas/") for reference in references(document)}
    assert found
    assert found <= names


def test_answers_match_openapi_schemas(server: InProcessServer) -> None:
    """A field that is in an answer but not in its schema would surprise every generated client."""
    schemas = server.get("/openapi.json").json["components"]["schemas"]
    server.join()
    message = server.send_message()
    claimed = server.claim().json

    for name, document in (
        ("RoomView", server.show_room()),
        ("MessageReply", message),
        ("ClaimedTask", claimed),
        ("HeartbeatReply", server.beat()),
        ("Task", server.act_on_task(claimed, "complete").json),
        ("Problem", server.get("/api/v1/nothing").json),
    ):
        assert set(document) <= set(schemas[name]["properties"]), name
        assert set(schemas[name]["required"]) <= set(document), name
    assert msgspec.json.encode(schemas)


def test_limits_endpoint(server: InProcessServer) -> None:
    limits = server.get("/api/v1/limits").json

    assert msgspec.structs.asdict(server.limits) == limits
