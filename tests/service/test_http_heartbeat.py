"""The shell answers heartbeats exactly as the routes do: each case goes to both, each on a server of its own."""

from typing import Any

import msgspec
import pytest

from greenroom.server.shell import HeartbeatFastPath
from tests.service.in_process_server import InProcessServer

AGENT_PATH = "/api/v1/rooms/r/participants/builder/heartbeat"
MACHINE_PATH = "/api/v1/machines/m1/heartbeat"
AGENT_BEAT = {"connection_id": "A"}
MACHINE_BEAT = {"incarnation": "i1", "agents": [{"room": "r", "role": "reviewer", "connection_id": "M"}]}

# Path, body, headers.
CASES: tuple[tuple[str, Any, dict[str, Any]], ...] = (
    (AGENT_PATH, AGENT_BEAT, {}),
    (AGENT_PATH, {**AGENT_BEAT, "slept_s": 12.5}, {}),
    (AGENT_PATH, {**AGENT_BEAT, "from": "a newer client"}, {}),
    (AGENT_PATH, {"connection_id": "old"}, {}),
    (AGENT_PATH, {"connection_id": "unheard-of"}, {}),
    (AGENT_PATH, {}, {}),
    (AGENT_PATH, None, {}),
    (AGENT_PATH, b"", {}),
    (AGENT_PATH, b"{", {}),
    (AGENT_PATH, b"[]", {}),
    (AGENT_PATH, b'{"connection_id":"A"}x', {}),
    (AGENT_PATH, b'{"connection_id":"\xff"}', {}),
    (AGENT_PATH, b'{"connection_id":"A","later":' + b"[" * 100_000, {}),
    (AGENT_PATH, {"connection_id": "A\n"}, {}),
    (AGENT_PATH, {"connection_id": "A", "slept_s": -1}, {}),
    (AGENT_PATH, {"connection_id": 1}, {}),
    (AGENT_PATH, AGENT_BEAT, {"content-type": "text/plain"}),
    (AGENT_PATH, AGENT_BEAT, {"content-type": "application/json; charset=utf-8"}),
    (AGENT_PATH, AGENT_BEAT, {"content-type": None}),
    (AGENT_PATH, AGENT_BEAT, {"authorization": None}),
    (AGENT_PATH, AGENT_BEAT, {"authorization": "Bearer wrong"}),
    (AGENT_PATH, AGENT_BEAT, {"authorization": "Basic abc"}),
    (AGENT_PATH, AGENT_BEAT, {"host": "evil.example"}),
    (AGENT_PATH, AGENT_BEAT, {"host": None}),
    (AGENT_PATH, AGENT_BEAT, {"origin": "http://127.0.0.1:6464"}),
    (AGENT_PATH, AGENT_BEAT, {"origin": "http://evil.example"}),
    (f"{AGENT_PATH}?x=1", AGENT_BEAT, {}),
    (f"{AGENT_PATH}/", AGENT_BEAT, {}),
    ("/api/v1/rooms/r/participants/reviewer/heartbeat", {"connection_id": "M"}, {}),
    ("/api/v1/rooms/r/participants/unknown/heartbeat", AGENT_BEAT, {}),
    ("/api/v1/rooms/nowhere/participants/builder/heartbeat", AGENT_BEAT, {}),
    ("/api/v1/rooms/r/builder/heartbeat", AGENT_BEAT, {}),
    ("/heartbeat", AGENT_BEAT, {}),
    (MACHINE_PATH, MACHINE_BEAT, {}),
    (MACHINE_PATH, {"incarnation": "i1"}, {}),
    (MACHINE_PATH, {"incarnation": "i2"}, {}),
    (MACHINE_PATH, {"incarnation": "i1", "agents": [{"room": "r", "role": "builder", "connection_id": "A"}]}, {}),
    (MACHINE_PATH, {"incarnation": "i1", "agents": [{"room": "gone", "role": "x", "connection_id": "A"}]}, {}),
    (MACHINE_PATH, {"incarnation": "i1", "agents": [{"room": "r"}]}, {}),
    (MACHINE_PATH, {"agents": []}, {}),
    ("/api/v1/machines/m2/heartbeat", MACHINE_BEAT, {}),
    ("/api/v1/machines/none/heartbeat", MACHINE_BEAT, {}),
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


def stable_body(body: bytes) -> Any:
    """A body without the field that is random."""
    document = msgspec.json.decode(body)
    if isinstance(document, dict):
        document.pop("next_in_s", None)
    return document


@pytest.mark.parametrize(("path", "body", "headers"), CASES)
def test_shell_equals_route(path: str, body: Any, headers: dict[str, Any]) -> None:
    with make_server_with_agents() as by_shell, make_server_with_agents() as by_route:
        fast = by_shell.post(path, body, headers=headers)
        routed = by_route.post(path, body, headers=headers, application=by_route.reference)

        assert routed.status == fast.status
        assert stable_body(routed.body) == stable_body(fast.body)
        for name in ("content-type", "content-length", "www-authenticate"):
            assert (name in routed.headers) == (name in fast.headers)
        assert routed.headers["content-type"] == fast.headers["content-type"]
        assert str(len(fast.body)) == fast.headers["content-length"]
        assert by_route.show_room()["participants"] == by_shell.show_room()["participants"]
        assert by_route.context.counters.agent_beats == by_shell.context.counters.agent_beats
        assert by_route.context.counters.machine_beats == by_shell.context.counters.machine_beats


@pytest.mark.parametrize(("path", "body"), [(AGENT_PATH, AGENT_BEAT), (MACHINE_PATH, MACHINE_BEAT)])
def test_plain_beat_stays_in_shell(path: str, body: Any) -> None:
    async def fail_if_passed_on(*_: object) -> None:
        raise AssertionError("this heartbeat was passed on")

    with make_server_with_agents() as server:
        shell = HeartbeatFastPath(fail_if_passed_on, server.context, server.hosts)

        answer = server.post(path, body, application=shell)

        assert (200, "ok") == (answer.status, answer.json["status"])


def test_chunked_body() -> None:
    with make_server_with_agents() as server:
        chunks = [b'{"connection_id"', b':"A"}']

        answer = server.post(
            AGENT_PATH, chunks=chunks, headers={"content-type": "application/json", "content-length": None}
        )

        assert (200, "ok") == (answer.status, answer.json["status"])


def test_two_host_headers_are_refused() -> None:
    with make_server_with_agents() as server:

        async def send_two_hosts(scope: dict[str, Any], receive: Any, send: Any) -> None:
            scope["headers"].append((b"host", b"evil.example"))
            await server.app(scope, receive, send)  # type: ignore[arg-type]

        assert 403 == server.post(AGENT_PATH, AGENT_BEAT, application=send_two_hosts).status


def test_disconnected_machine_beat_uses_store() -> None:
    with make_server_with_agents() as server:
        server.pass_time(server.limits.daemon_heartbeat_ttl_s + 2)

        answer = server.post(MACHINE_PATH, MACHINE_BEAT).json

        assert answer["daemon_connected"]
        assert [("reviewer", "ok")] == [(agent["role"], agent["status"]) for agent in answer["agents"]]
        assert "machine.reconnected" in [event["type"] for event in server.get("/api/v1/events").json]
