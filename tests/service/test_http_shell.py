"""The shell answers heartbeats exactly as the routes do: each case goes to both, each on a server of its own."""

from typing import Any

import msgspec
import pytest

from greenroom.server.shell import Shell
from tests.service.desk import Desk

AGENT = "/api/v1/rooms/r/participants/builder/heartbeat"
MACHINE = "/api/v1/machines/m1/heartbeat"
GOOD = {"connection_id": "A"}
BEAT = {"incarnation": "i1", "agents": [{"room": "r", "role": "reviewer", "connection_id": "M"}]}

# Path, body, headers.
CASES: tuple[tuple[str, Any, dict[str, Any]], ...] = (
    (AGENT, GOOD, {}),
    (AGENT, {**GOOD, "slept_s": 12.5}, {}),
    (AGENT, {**GOOD, "from": "a newer client"}, {}),
    (AGENT, {"connection_id": "old"}, {}),
    (AGENT, {"connection_id": "unheard-of"}, {}),
    (AGENT, {}, {}),
    (AGENT, None, {}),
    (AGENT, b"", {}),
    (AGENT, b"{", {}),
    (AGENT, b"[]", {}),
    (AGENT, b'{"connection_id":"A"}x', {}),
    (AGENT, b'{"connection_id":"\xff"}', {}),
    (AGENT, b'{"connection_id":"A","later":' + b"[" * 100_000, {}),
    (AGENT, {"connection_id": "A\n"}, {}),
    (AGENT, {"connection_id": "A", "slept_s": -1}, {}),
    (AGENT, {"connection_id": 1}, {}),
    (AGENT, GOOD, {"content-type": "text/plain"}),
    (AGENT, GOOD, {"content-type": "application/json; charset=utf-8"}),
    (AGENT, GOOD, {"content-type": None}),
    (AGENT, GOOD, {"authorization": None}),
    (AGENT, GOOD, {"authorization": "Bearer wrong"}),
    (AGENT, GOOD, {"authorization": "Basic abc"}),
    (AGENT, GOOD, {"host": "evil.example"}),
    (AGENT, GOOD, {"host": None}),
    (AGENT, GOOD, {"origin": "http://127.0.0.1:6464"}),
    (AGENT, GOOD, {"origin": "http://evil.example"}),
    (f"{AGENT}?x=1", GOOD, {}),
    (f"{AGENT}/", GOOD, {}),
    ("/api/v1/rooms/r/participants/reviewer/heartbeat", {"connection_id": "M"}, {}),
    ("/api/v1/rooms/r/participants/nobody/heartbeat", GOOD, {}),
    ("/api/v1/rooms/nowhere/participants/builder/heartbeat", GOOD, {}),
    ("/api/v1/rooms/r/builder/heartbeat", GOOD, {}),
    ("/heartbeat", GOOD, {}),
    (MACHINE, BEAT, {}),
    (MACHINE, {"incarnation": "i1"}, {}),
    (MACHINE, {"incarnation": "i2"}, {}),
    (MACHINE, {"incarnation": "i1", "agents": [{"room": "r", "role": "builder", "connection_id": "A"}]}, {}),
    (MACHINE, {"incarnation": "i1", "agents": [{"room": "gone", "role": "x", "connection_id": "A"}]}, {}),
    (MACHINE, {"incarnation": "i1", "agents": [{"room": "r"}]}, {}),
    (MACHINE, {"agents": []}, {}),
    ("/api/v1/machines/m2/heartbeat", BEAT, {}),
    ("/api/v1/machines/none/heartbeat", BEAT, {}),
)


def prepared() -> Desk:
    """A server where A is builder (after `old`) and M is reviewer through machine m1; m2 has never sent a heartbeat."""
    desk = Desk()
    desk.room()
    desk.join(connection="old")
    desk.join(connection="A")
    desk.say()
    desk.claim()
    for machine in ("m1", "m2"):
        desk.put(f"/api/v1/machines/{machine}", {"name": machine, "harnesses": ["shell"]})
    wish = {"kind": "remote", "machine": "m1", "harness": "shell"}
    desk.put("/api/v1/rooms/r/roles/reviewer/agent", wish)
    desk.join("reviewer", "M")
    assert 200 == desk.post(MACHINE, BEAT).status
    return desk


def told(body: bytes) -> Any:
    """A body without the field that is random."""
    document = msgspec.json.decode(body)
    if isinstance(document, dict):
        document.pop("next_in_s", None)
    return document


@pytest.mark.parametrize(("path", "body", "headers"), CASES)
def test_shell_and_route_agree(path: str, body: Any, headers: dict[str, Any]) -> None:
    with prepared() as by_shell, prepared() as by_route:
        one = by_shell.post(path, body, headers=headers)
        other = by_route.post(path, body, headers=headers, application=by_route.reference)

        assert other.status == one.status
        assert told(other.body) == told(one.body)
        for name in ("content-type", "content-length", "www-authenticate"):
            assert (name in other.headers) == (name in one.headers)
        assert other.headers["content-type"] == one.headers["content-type"]
        assert str(len(one.body)) == one.headers["content-length"]
        assert by_route.look()["participants"] == by_shell.look()["participants"]
        assert by_route.doors.tally.agent_beats == by_shell.doors.tally.agent_beats
        assert by_route.doors.tally.machine_beats == by_shell.doors.tally.machine_beats


@pytest.mark.parametrize(("path", "body"), [(AGENT, GOOD), (MACHINE, BEAT)])
def test_a_plain_beat_goes_no_further_than_the_shell(path: str, body: Any) -> None:
    async def nowhere(*_: object) -> None:
        raise AssertionError("this heartbeat was passed on")

    with prepared() as desk:
        shell = Shell(nowhere, desk.doors, desk.hosts)

        answer = desk.post(path, body, application=shell)

        assert (200, "ok") == (answer.status, answer.json["status"])


def test_a_beat_in_pieces_is_put_together() -> None:
    with prepared() as desk:
        chunks = [b'{"connection_id"', b':"A"}']

        answer = desk.post(AGENT, chunks=chunks, headers={"content-type": "application/json", "content-length": None})

        assert (200, "ok") == (answer.status, answer.json["status"])


def test_two_hosts_are_one_too_many() -> None:
    with prepared() as desk:

        async def twice(scope: dict[str, Any], receive: Any, send: Any) -> None:
            scope["headers"].append((b"host", b"evil.example"))
            await desk.app(scope, receive, send)  # type: ignore[arg-type]

        assert 403 == desk.post(AGENT, GOOD, application=twice).status


def test_the_lease_of_a_disconnected_machine_waits_for_the_store() -> None:
    with prepared() as desk:
        desk.pass_time(desk.limits.daemon_heartbeat_ttl_s + 2)

        answer = desk.post(MACHINE, BEAT).json

        assert answer["daemon_connected"]
        assert [("reviewer", "ok")] == [(agent["role"], agent["status"]) for agent in answer["agents"]]
        assert "machine.reconnected" in [event["type"] for event in desk.get("/api/v1/events").json]
