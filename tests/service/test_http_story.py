"""What the API promises about heartbeats, tasks and machines, under a moved clock."""

from collections.abc import Iterator

import pytest

from tests.service.desk import Desk


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Desk() as made:
        made.room()
        yield made


def test_a_beat_renews_the_lease(desk: Desk) -> None:
    first = desk.join()["ready_until"]
    desk.pass_time(20)

    assert "ok" == desk.beat()["status"]
    [participant] = desk.look()["participants"]

    assert first < participant["ready_until"]


def test_a_beat_of_nobody_is_told_to_rejoin(desk: Desk) -> None:
    assert "rejoin_required" == desk.beat()["status"]


def test_silence_removes_the_participant_and_keeps_the_role(desk: Desk) -> None:
    desk.join()
    desk.pass_time(desk.limits.heartbeat_ttl_s + 2)

    room = desk.look()
    events = desk.get("/api/v1/rooms/r/events").json

    assert [] == room["participants"]
    assert ["builder", "reviewer"] == [role["name"] for role in room["roles"]]
    assert "participant.expired" == events[-1]["type"]
    assert room["cursor"] == events[-1]["seq"]


def test_a_machine_reconnects_by_its_next_beat(desk: Desk) -> None:
    desk.put("/api/v1/machines/m1", {"name": "m1", "harnesses": []})
    beat = {"incarnation": "i1", "agents": []}
    assert desk.post("/api/v1/machines/m1/heartbeat", beat).json["daemon_connected"]
    desk.pass_time(desk.limits.daemon_heartbeat_ttl_s + 2)
    assert not desk.get("/api/v1/machines/m1").json["daemon_connected"]

    assert desk.post("/api/v1/machines/m1/heartbeat", beat).json["daemon_connected"]

    types = [event["type"] for event in desk.get("/api/v1/machines/m1/events").json]
    assert desk.get("/api/v1/machines/m1").json["daemon_connected"]
    assert 1 == types.count("machine.disconnected")
    assert "machine.reconnected" == types[-1]


def test_a_fresh_machine_stays_connected(desk: Desk) -> None:
    desk.put("/api/v1/machines/m1", {"name": "m1", "harnesses": []})
    for _ in range(10):
        assert 200 == desk.post("/api/v1/machines/m1/heartbeat", {"incarnation": "i1", "agents": []}).status
        desk.pass_time(desk.limits.daemon_heartbeat_interval_s)

    types = [event["type"] for event in desk.get("/api/v1/machines/m1/events").json]
    assert "machine.disconnected" not in types


def test_a_task_from_message_to_result(desk: Desk) -> None:
    desk.join()
    said = desk.say()
    assert "pending" == said["task"]["status"]

    claimed = desk.claim().json
    started = desk.act(claimed, "start").json
    done = desk.act(claimed, "complete", text="there you are").json

    assert ["acknowledged", "in_progress", "completed"] == [each["status"] for each in (claimed, started, done)]
    assert "there you are" == done["result"]
    assert None not in (done["acknowledged_at"], done["started_at"], done["completed_at"])
    assert ["do it", "there you are"] == [each["text"] for each in desk.get("/api/v1/rooms/r/messages").json]


def test_only_the_roles_agent_gets_the_task_and_gets_it_again(desk: Desk) -> None:
    desk.join()
    desk.join("reviewer", "B")
    desk.say()

    empty = desk.claim("reviewer", "B")
    first, again = desk.claim().json, desk.claim().json

    assert (204, b"") == (empty.status, empty.body)
    assert (first["id"], 1) == (again["id"], again["attempt"])


def test_one_request_at_a_time(desk: Desk) -> None:
    desk.join()
    first, second = desk.say("one")["task"], desk.say("two")["task"]
    assert ["pending", "queued"] == [first["status"], second["status"]]

    done = desk.act(desk.claim().json, "complete").json

    assert second["id"] == done["promoted"]
    assert "pending" == desk.get(f"/api/v1/tasks/{second['id']}").json["status"]


def test_a_chain_ends_at_the_user(desk: Desk) -> None:
    desk.join()
    desk.join("reviewer", "B")
    desk.say("one")
    queued = desk.say("two")["task"]

    handed = desk.act(desk.claim().json, "handoff", to="reviewer", text="look at it").json
    assert "queued" == desk.get(f"/api/v1/tasks/{queued['id']}").json["status"]
    ended = desk.act(desk.claim("reviewer", "B").json, "handoff", "B", to="user", text="fine").json

    assert handed["next_task"] == ended["id"]
    assert queued["id"] == ended["promoted"]


def test_back_in_time_the_task_is_still_mine(desk: Desk) -> None:
    desk.join()
    desk.say()
    task = desk.claim().json
    desk.pass_time(desk.limits.heartbeat_ttl_s + 2)
    assert "rejoin_required" == desk.beat()["status"]

    reply = desk.join()

    assert {"id": task["id"], "attempt": 1} == reply["task"]
    assert "completed" == desk.act(task, "complete").json["status"]


def test_released_on_silence_and_nobody_came(desk: Desk) -> None:
    desk.join()
    desk.say()
    task = desk.claim().json
    desk.pass_time(desk.limits.heartbeat_ttl_s + desk.limits.task_lost_after_s + 3)
    released = desk.get(f"/api/v1/tasks/{task['id']}").json
    assert ("pending", "lost") == (released["status"], released["released_cause"])

    done = desk.act(task, "complete").json

    assert ("completed", 1) == (done["status"], done["attempt"])


def test_declined_work_waits_for_a_person(desk: Desk) -> None:
    desk.join()
    desk.say()
    task = desk.claim().json

    declined = desk.act(task, "decline", reason="the tests need a licence").json
    retried = desk.post(f"/api/v1/tasks/{task['id']}/retry", {}).json

    assert "quarantined" == declined["status"]
    assert "licence" in declined["reason"]
    assert ("pending", 0) == (retried["status"], retried["deaths"])


def test_the_result_of_an_attempt_that_was_given_away_is_kept(desk: Desk) -> None:
    desk.join()
    desk.say()
    old = desk.claim().json
    desk.join(connection="B")
    desk.pass_time(desk.limits.takeover_grace_s)
    new = desk.claim(connection="B").json

    refused = desk.act(old, "complete", text="too late")

    assert (409, "superseded") == (refused.status, refused.json["code"])
    [late] = desk.get(f"/api/v1/tasks/{old['id']}").json["late_results"]
    assert ("too late", 1) == (late["text"], late["attempt"])
    assert 2 == new["attempt"]


def test_an_illegal_move_says_what_is_allowed(desk: Desk) -> None:
    task = desk.say()["task"]

    refused = desk.post(f"/api/v1/tasks/{task['id']}/retry", {})

    problem = refused.json
    assert (409, "invalid_transition") == (refused.status, problem["code"])
    assert ("pending", "retry") == (problem["current"], problem["attempted"])
    assert "cancel" in problem["allowed"]
    assert "pending" == desk.get(f"/api/v1/tasks/{task['id']}").json["status"]


def test_what_people_see_of_a_wish(desk: Desk) -> None:
    desk.put("/api/v1/machines/m1", {"name": "m1", "harnesses": ["shell"]})
    wish = {"kind": "remote", "machine": "m1", "harness": "shell"}

    role = desk.put("/api/v1/rooms/r/roles/builder/agent", wish).json
    wishes = desk.get("/api/v1/machines/m1/wishes").json

    assert "offline" == role["status"]
    assert [("builder", "running")] == [(each["role"], each["desired"]) for each in wishes["wishes"]]
