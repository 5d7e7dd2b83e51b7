"""Heartbeats over HTTP: every case with its answer, and what it counts."""

from typing import Any

import pytest

from greenroom.server.request_headers import SINGLE_HEADERS, read_headers
from tests.service.in_process_server import InProcessServer

AGENT_PATH = "/api/v1/rooms/r/participants/builder/heartbeat"
MACHINE_PATH = "/api/v1/machines/m1/heartbeat"
AGENT_BEAT = {"connection_id": "A"}
MACHINE_BEAT = {"incarnation": "i1", "agents": [{"room": "r", "role": "reviewer", "connection_id": "M"}]}

# Path, body, headers; status and code of the problem.
CASES: tuple[tuple[str, Any, dict[str, Any], int, str], ...] = (
    (AGENT_PATH, AGENT_BEAT, {}, 200, ""),
    (AGENT_PATH, {**AGENT_BEAT, "slept_s": 12.5}, {}, 200, ""),
    (AGENT_PATH, {**AGENT_BEAT, "from": "a newer client"}, {}, 200, ""),
    (AGENT_PATH, {"connection_id": "old"}, {}, 200, ""),
    (AGENT_PATH, {"connection_id": "unheard-of"}, {}, 200, ""),
    (AGENT_PATH, {}, {}, 400, "invalid_request"),
    (AGENT_PATH, None, {}, 400, "invalid_request"),
    (AGENT_PATH, b"", {}, 400, "invalid_request"),
    (AGENT_PATH, b"{", {}, 400, "invalid_request"),
    (AGENT_PATH, b"[]", {}, 400, "invalid_request"),
    (AGENT_PATH, b'{"connection_id":"A"}x', {}, 400, "invalid_request"),
    (AGENT_PATH, b'{"connection_id":"\xff"}', {}, 400, "invalid_request"),
    (AGENT_PATH, b'{"connection_id":"A","later":' + b"[" * 100_000, {}, 400, "invalid_request"),
    (AGENT_PATH, {"connection_id": "A\n"}, {}, 400, "invalid_request"),
    (AGENT_PATH, {"connection_id": "A", "slept_s": -1}, {}, 400, "invalid_request"),
    (AGENT_PATH, {"connection_id": 1}, {}, 400, "invalid_request"),
    (AGENT_PATH, AGENT_BEAT, {"content-type": "text/plain"}, 415, "unsupported_media_type"),
    (AGENT_PATH, AGENT_BEAT, {"content-type": "application/json; charset=utf-8"}, 200, ""),
    (AGENT_PATH, AGENT_BEAT, {"content-type": None}, 415, "unsupported_media_type"),
    (AGENT_PATH, AGENT_BEAT, {"authorization": None}, 401, "unauthorized"),
    (AGENT_PATH, AGENT_BEAT, {"authorization": "Bearer wrong"}, 401, "unauthorized"),
    (AGENT_PATH, AGENT_BEAT, {"authorization": "Basic abc"}, 401, "unauthorized"),
    (AGENT_PATH, AGENT_BEAT, {"host": "evil.example"}, 403, "host_refused"),
    (AGENT_PATH, AGENT_BEAT, {"host": None}, 403, "host_refused"),
    (AGENT_PATH, AGENT_BEAT, {"origin": "http://127.0.0.1:6464"}, 200, ""),
    (AGENT_PATH, AGENT_BEAT, {"origin": "http://evil.example"}, 403, "host_refused"),
    (f"{AGENT_PATH}?x=1", AGENT_BEAT, {}, 400, "invalid_request"),
    (f"{AGENT_PATH}/", AGENT_BEAT, {}, 200, ""),
    ("/api/v1/rooms/r/participants/reviewer/heartbeat", {"connection_id": "M"}, {}, 200, ""),
    ("/api/v1/rooms/r/participants/unknown/heartbeat", AGENT_BEAT, {}, 404, "not_found"),
    ("/api/v1/rooms/nowhere/participants/builder/heartbeat", AGENT_BEAT, {}, 404, "not_found"),
    ("/api/v1/rooms/r/builder/heartbeat", AGENT_BEAT, {}, 404, "not_found"),
    ("/heartbeat", AGENT_BEAT, {}, 404, "not_found"),
    (MACHINE_PATH, MACHINE_BEAT, {}, 200, ""),
    (MACHINE_PATH, {"incarnation": "i1"}, {}, 200, ""),
    (MACHINE_PATH, {"incarnation": "i2"}, {}, 200, ""),
    (
        MACHINE_PATH,
        {"incarnation": "i1", "agents": [{"room": "r", "role": "builder", "connection_id": "A"}]},
        {},
        200,
        "",
    ),
    (MACHINE_PATH, {"incarnation": "i1", "agents": [{"room": "gone", "role": "x", "connection_id": "A"}]}, {}, 200, ""),
    (MACHINE_PATH, {"incarnation": "i1", "agents": [{"room": "r"}]}, {}, 400, "invalid_request"),
    (MACHINE_PATH, {"agents": []}, {}, 400, "invalid_request"),
    ("/api/v1/machines/m2/heartbeat", MACHINE_BEAT, {}, 200, ""),
    ("/api/v1/machines/none/heartbeat", MACHINE_BEAT, {}, 404, "not_found"),
)


def make_server_with_agents() -> InProcessServer:
    """A server where A is builder (after `old`) and M is reviewer through machine m1; m2 has never sent a heartbeat."""
    server = InProcessServer()
    server.create_room()
    server.join(connection="old")
    server.join(connection="A")
    server.send_message()
    server.claim()
    for machine in ("m1", "m2"):
        server.put(f"/api/v1/machines/{machine}", {"name": machine, "harnesses": ["shell"]})
    agent_spec = {"kind": "remote", "machine": "m1", "harness": "shell"}
    server.put("/api/v1/rooms/r/roles/reviewer/agent", agent_spec)
    server.join("reviewer", "M")
    assert 200 == server.post(MACHINE_PATH, MACHINE_BEAT).status
    return server


@pytest.mark.parametrize(("path", "body", "headers", "status", "code"), CASES)
def test_heartbeat_is_answered(path: str, body: Any, headers: dict[str, Any], status: int, code: str) -> None:
    with make_server_with_agents() as server:
        counters = server.context.counters
        before = counters.agent_beats.total() + counters.machine_beats.total()

        answer = server.post(path, body, headers=headers)

        assert (answer.status, answer.json.get("code", "")) == (status, code)
        assert answer.headers["content-type"] == ("application/problem+json" if code else "application/json")
        assert answer.headers["content-length"] == str(len(answer.body))
        assert counters.agent_beats.total() + counters.machine_beats.total() - before == (status == 200)


def test_chunked_body() -> None:
    with make_server_with_agents() as server:
        chunks = [b'{"connection_id"', b':"A"}']

        answer = server.post(
            AGENT_PATH, chunks=chunks, headers={"content-type": "application/json", "content-length": None}
        )

        assert (200, "ok") == (answer.status, answer.json["status"])


@pytest.mark.parametrize("name", sorted(SINGLE_HEADERS))
def test_repeated_header_is_refused(name: bytes) -> None:
    """Which of two values would count? So neither does, also if both are valid."""
    with make_server_with_agents() as server:

        async def send_twice(scope: dict[str, Any], receive: Any, send: Any) -> None:
            value = dict(scope["headers"]).get(name, b"")
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] != name] + 2 * [(name, value)]
            await server.app(scope, receive, send)

        answer = server.post(AGENT_PATH, AGENT_BEAT, application=send_twice)
        assert (400, "invalid_request") == (answer.status, answer.json["code"])
        assert name.decode() in answer.json["detail"]


def test_other_headers_may_be_repeated() -> None:
    assert {b"accept": b"a, b", b"host": b"h"} == read_headers([(b"accept", b"a"), (b"host", b"h"), (b"accept", b"b")])


def test_disconnected_machine_beat_uses_store() -> None:
    with make_server_with_agents() as server:
        server.pass_time(server.limits.daemon_heartbeat_ttl_s + 2)

        answer = server.post(MACHINE_PATH, MACHINE_BEAT).json

        assert answer["daemon_connected"]
        assert [("reviewer", "ok")] == [(agent["role"], agent["status"]) for agent in answer["agents"]]
        assert "machine.reconnected" in [event["type"] for event in server.get("/api/v1/events").json]
