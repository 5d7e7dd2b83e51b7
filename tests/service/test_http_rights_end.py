"""A token that loses its rights while a call is open: a stream ends, and a claim is refused."""

from collections.abc import Iterator
from typing import Any

import pytest

from greenroom.domain.limits import Limits
from tests.service.in_process_server import AsgiExchange, InProcessServer
from tests.waiting import PATIENCE_S

STREAM = {"accept": "text/event-stream"}
MESSAGE = {"sender": "user", "text": "a secret"}

WAIT_S = 2 * PATIENCE_S
LONG_WAITS = Limits(
    stream_heartbeat_s=0.05,
    claim_wait_max_s=WAIT_S,
    heartbeat_interval_s=2 * WAIT_S,
    heartbeat_ttl_s=6 * WAIT_S,
    work_lease_s=6 * WAIT_S,
)

Call = tuple[str, str, Any]


@pytest.fixture
def server() -> Iterator[InProcessServer]:
    with InProcessServer(LONG_WAITS) as new_server:
        new_server.create_room()
        new_server.put("/api/v1/machines/m1", {"name": "m1", "harnesses": ["shell"]})
        agent_spec = {"kind": "remote", "machine": "m1", "harness": "shell"}
        assert 200 == new_server.put("/api/v1/rooms/r/roles/reviewer/agent", agent_spec).status
        yield new_server


async def read_event_types(stream: AsgiExchange) -> list[str]:
    types = []
    while frame := await stream.next_event():
        types.append(frame["event"])
    return types


def events_until_stream_ends(server: InProcessServer, token: str, calls: list[Call]) -> list[str]:
    """The types of the events that the room's stream still sends while the `calls` are made, until it ends."""

    async def scenario() -> list[str]:
        stream = server.send("GET", "/api/v1/rooms/r/events", headers=STREAM, token=token)
        assert "room.created" == (await stream.next_event())["event"]
        for method, path, body in calls:
            assert (await server.send(method, path, body).response()).status < 300
        return await read_event_types(stream)

    return server.run(scenario())


def test_attempt_stream_ends_with_attempt(server: InProcessServer) -> None:
    server.join()
    server.send_message()
    task = server.claim().json
    cancel: Call = ("POST", f"/api/v1/tasks/{task['id']}/cancel", {})
    event_types = events_until_stream_ends(
        server, task["token"], [cancel, ("POST", "/api/v1/rooms/r/messages", MESSAGE)]
    )
    assert "task.claimed" in event_types
    assert "task.closed" not in event_types
    assert "message.sent" not in event_types[event_types.index("task.claimed") :]


def test_machine_stream_ends_when_role_moves(server: InProcessServer) -> None:
    reassign: Call = ("PUT", "/api/v1/rooms/r/roles/reviewer/agent", {"kind": "custom"})
    event_types = events_until_stream_ends(
        server,
        server.service_context.tokens.make_machine_token("m1"),
        [reassign, ("POST", "/api/v1/rooms/r/messages", MESSAGE)],
    )
    assert "message.sent" not in event_types


@pytest.mark.parametrize("scope", ["operator", "agent"])
def test_stream_survives_rename_ends_with_room(server: InProcessServer, scope: str) -> None:
    """An operator's stream still has the room's last events."""
    server.join()
    keys = server.service_context.tokens
    token = (
        keys.make_operator_token()
        if scope == "operator"
        else keys.make_agent_token(server.show_room()["id"], "builder")
    )
    calls: list[Call] = [
        ("PATCH", "/api/v1/rooms/r", {"name": "s"}),
        ("POST", "/api/v1/rooms", {"name": "r", "roles": ["builder"]}),
        ("POST", "/api/v1/rooms/s/close", {}),
        ("DELETE", "/api/v1/rooms/s", None),
    ]

    event_types = events_until_stream_ends(server, token, calls)

    assert "room.changed" in event_types
    assert scope == "agent" or event_types[-2:] == ["room.closed", "participant.left"]


def test_open_claim_refused_when_role_moves(server: InProcessServer) -> None:
    token = server.service_context.tokens.make_machine_token("m1")
    beat = {"incarnation": "i1", "agents": []}
    assert 200 == server.post("/api/v1/machines/m1/heartbeat", beat, token=token).status
    joined = server.post("/api/v1/rooms/r/participants/reviewer/join", {"connection_id": "A"}, token=token)
    assert 200 == joined.status

    async def scenario() -> int:
        body = {"role": "reviewer", "connection_id": "A", "wait_s": WAIT_S}
        claim = server.send("POST", "/api/v1/rooms/r/tasks/claim", body, token=token)
        reassign = server.send("PUT", "/api/v1/rooms/r/roles/reviewer/agent", {"kind": "custom"})
        assert 200 == (await reassign.response()).status
        return (await claim.response()).status

    assert 403 == server.run(scenario())


def test_token_of_deleted_machine_stays_refused(server: InProcessServer) -> None:
    """Also once another machine has its name, and after a restart of the server."""
    old = server.post("/api/v1/machines/m2/token").json["token"]
    machine = {"name": "m2", "harnesses": []}
    assert 200 == server.put("/api/v1/machines/m2", machine, token=old).status
    for number in range(2):
        assert 204 == server.call("DELETE", "/api/v1/machines/m2").status
        assert 401 == server.put("/api/v1/machines/m2", machine, token=old).status
        new = server.post("/api/v1/machines/m2/token").json["token"]
        assert 200 == server.put("/api/v1/machines/m2", machine, token=new).status, number
        assert 401 == server.post("/api/v1/machines/m2/heartbeat", {"incarnation": "i"}, token=old).status
        old = new
    with InProcessServer(LONG_WAITS, server.store, server.clock) as restarted:
        assert 200 == restarted.put("/api/v1/machines/m2", machine, token=old).status
        assert old == restarted.post("/api/v1/machines/m2/token").json["token"]


def test_token_of_removed_role_stays_refused(server: InProcessServer) -> None:
    assert 201 == server.post("/api/v1/rooms", {"name": "other", "roles": ["builder", "painter"]}).status
    path = "/api/v1/rooms/other/roles/{}/token"
    tokens = {role: server.post(path.format(role)).json["token"] for role in ("builder", "painter")}
    path = "/api/v1/rooms/other/participants/{}/join"
    for changed in (["builder"], ["builder", "painter"]):
        assert 200 == server.call("PATCH", "/api/v1/rooms/other", {"roles": changed}).status
        assert 401 == server.post(path.format("painter"), {"connection_id": "P"}, token=tokens["painter"]).status
    assert 200 == server.post(path.format("builder"), {"connection_id": "B"}, token=tokens["builder"]).status


def test_stream_of_deleted_machine_ends_although_its_name_is_used_again(server: InProcessServer) -> None:
    token = server.post("/api/v1/machines/m3/token").json["token"]
    assert 200 == server.put("/api/v1/machines/m3", {"name": "m3", "harnesses": []}, token=token).status

    async def scenario() -> list[str]:
        stream = server.send("GET", "/api/v1/machines/m3/events", headers=STREAM, token=token)
        assert "machine.registered" == (await stream.next_event())["event"]
        for method, body in (("DELETE", None), ("PUT", {"name": "m3", "harnesses": []})):
            assert (await server.send(method, "/api/v1/machines/m3", body).response()).status < 300
        return await read_event_types(stream)

    assert "machine.registered" not in server.run(scenario())
