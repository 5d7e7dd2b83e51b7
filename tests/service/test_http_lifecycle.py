"""What the API promises about heartbeats, tasks and machines, under a moved clock."""

from collections.abc import Iterator

import pytest

from tests.service.in_process_server import InProcessServer


@pytest.fixture
def server() -> Iterator[InProcessServer]:
    with InProcessServer() as new_server:
        new_server.create_room()
        yield new_server


def test_heartbeat_renews_lease(server: InProcessServer) -> None:
    first = server.join()["ready_until"]
    server.pass_time(20)

    assert "ok" == server.beat()["status"]
    [participant] = server.show_room()["participants"]

    assert first < participant["ready_until"]


def test_unknown_heartbeat_must_rejoin(server: InProcessServer) -> None:
    assert "rejoin_required" == server.beat()["status"]


def test_silence_expires_participant_keeps_role(server: InProcessServer) -> None:
    server.join()
    server.pass_time(server.limits.heartbeat_ttl_s + 2)

    room = server.show_room()
    events = server.get("/api/v1/rooms/r/events").json

    assert [] == room["participants"]
    assert ["builder", "reviewer"] == [role["name"] for role in room["roles"]]
    assert "participant.expired" == events[-1]["type"]
    assert room["cursor"] == events[-1]["cursor"]


def test_machine_reconnects_with_next_beat(server: InProcessServer) -> None:
    server.put("/api/v1/machines/m1", {"name": "m1", "harnesses": []})
    beat = {"incarnation": "i1", "agents": []}
    assert server.post("/api/v1/machines/m1/heartbeat", beat).json["daemon_connected"]
    server.pass_time(server.limits.daemon_heartbeat_ttl_s + 2)
    assert not server.get("/api/v1/machines/m1").json["daemon_connected"]

    assert server.post("/api/v1/machines/m1/heartbeat", beat).json["daemon_connected"]

    types = [event["type"] for event in server.get("/api/v1/machines/m1/events").json]
    assert server.get("/api/v1/machines/m1").json["daemon_connected"]
    assert 1 == types.count("machine.disconnected")
    assert "machine.reconnected" == types[-1]


def test_beating_machine_stays_connected(server: InProcessServer) -> None:
    server.put("/api/v1/machines/m1", {"name": "m1", "harnesses": []})
    for _ in range(10):
        assert 200 == server.post("/api/v1/machines/m1/heartbeat", {"incarnation": "i1", "agents": []}).status
        server.pass_time(server.limits.daemon_heartbeat_interval_s)

    types = [event["type"] for event in server.get("/api/v1/machines/m1/events").json]
    assert "machine.disconnected" not in types


def test_task_from_message_to_result(server: InProcessServer) -> None:
    server.join()
    message = server.send_message()
    assert "pending" == message["task"]["status"]

    claimed = server.claim().json
    started = server.act_on_task(claimed, "start").json
    done = server.act_on_task(claimed, "complete", text="there you are").json

    assert ["acknowledged", "in_progress", "completed"] == [each["status"] for each in (claimed, started, done)]
    assert "there you are" == done["result"]
    assert None not in (done["acknowledged_at"], done["started_at"], done["completed_at"])
    assert ["do it", "there you are"] == [each["text"] for each in server.get("/api/v1/rooms/r/messages").json]


def test_task_goes_only_to_its_role(server: InProcessServer) -> None:
    server.join()
    server.join("reviewer", "B")
    server.send_message()

    empty = server.claim("reviewer", "B")
    first, again = server.claim().json, server.claim().json

    assert (204, b"") == (empty.status, empty.body)
    assert (first["id"], 1) == (again["id"], again["attempt"])


def test_one_request_at_a_time(server: InProcessServer) -> None:
    server.join()
    first, second = server.send_message("one")["task"], server.send_message("two")["task"]
    assert ["pending", "queued"] == [first["status"], second["status"]]

    done = server.act_on_task(server.claim().json, "complete").json

    assert second["id"] == done["promoted"]
    assert "pending" == server.get(f"/api/v1/tasks/{second['id']}").json["status"]


def test_handoff_to_user_ends_request(server: InProcessServer) -> None:
    server.join()
    server.join("reviewer", "B")
    server.send_message("one")
    queued = server.send_message("two")["task"]

    handed = server.act_on_task(server.claim().json, "handoff", to="reviewer", text="look at it").json
    assert "queued" == server.get(f"/api/v1/tasks/{queued['id']}").json["status"]
    ended = server.act_on_task(server.claim("reviewer", "B").json, "handoff", "B", to="user", text="fine").json

    assert handed["next_task"] == ended["id"]
    assert queued["id"] == ended["promoted"]


def test_rejoin_keeps_task(server: InProcessServer) -> None:
    server.join()
    server.send_message()
    task = server.claim().json
    server.pass_time(server.limits.heartbeat_ttl_s + 2)
    assert "rejoin_required" == server.beat()["status"]

    reply = server.join()

    assert {"id": task["id"], "attempt": 1} == reply["task"]
    assert "completed" == server.act_on_task(task, "complete").json["status"]


def test_lost_task_can_still_be_completed(server: InProcessServer) -> None:
    server.join()
    server.send_message()
    task = server.claim().json
    server.pass_time(server.limits.heartbeat_ttl_s + server.limits.task_lost_after_s + 3)
    released = server.get(f"/api/v1/tasks/{task['id']}").json
    assert ("pending", "lost") == (released["status"], released["released_cause"])

    done = server.act_on_task(task, "complete").json

    assert ("completed", 1) == (done["status"], done["attempt"])


def test_declined_task_is_quarantined(server: InProcessServer) -> None:
    server.join()
    server.send_message()
    task = server.claim().json

    declined = server.act_on_task(task, "decline", reason="the tests need a licence").json
    retried = server.post(f"/api/v1/tasks/{task['id']}/retry", {}).json

    assert "quarantined" == declined["status"]
    assert "licence" in declined["reason"]
    assert ("pending", 0) == (retried["status"], retried["failures"])


def test_result_of_superseded_attempt_is_kept(server: InProcessServer) -> None:
    server.join()
    server.send_message()
    old = server.claim().json
    server.join(connection="B")
    server.pass_time(server.limits.takeover_grace_s)
    new = server.claim(connection="B").json

    refused = server.act_on_task(old, "complete", text="too late")

    assert (409, "superseded") == (refused.status, refused.json["code"])
    [late] = server.get(f"/api/v1/tasks/{old['id']}").json["late_results"]
    assert ("too late", 1) == (late["text"], late["attempt"])
    assert 2 == new["attempt"]


def test_invalid_transition_lists_allowed(server: InProcessServer) -> None:
    task = server.send_message()["task"]

    refused = server.post(f"/api/v1/tasks/{task['id']}/retry", {})

    problem = refused.json
    assert (409, "invalid_transition") == (refused.status, problem["code"])
    assert ("pending", "retry") == (problem["current"], problem["attempted"])
    assert "cancel" in problem["allowed"]
    assert "pending" == server.get(f"/api/v1/tasks/{task['id']}").json["status"]


def test_agent_spec_status_and_assignments(server: InProcessServer) -> None:
    server.put("/api/v1/machines/m1", {"name": "m1", "harnesses": ["shell"]})
    agent_spec = {"kind": "remote", "machine": "m1", "harness": "shell"}

    role = server.put("/api/v1/rooms/r/roles/builder/agent", agent_spec).json
    assignments = server.get("/api/v1/machines/m1/assignments").json

    assert "offline" == role["status"]
    assert [("builder", "running")] == [(each["role"], each["desired"]) for each in assignments["assignments"]]
