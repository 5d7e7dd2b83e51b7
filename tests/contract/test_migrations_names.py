"""A store with the names from before the glossary (schema 3) is upgraded with its work open, and goes on."""

import hashlib
import json
from collections.abc import Callable, Iterator

import msgspec
import pytest
from sqlalchemy import text

from greenroom.testing import MovedClock
from tests.contract.migration_databases import THIRD_ROWS_FILE, MigrationDatabase
from tests.service.in_process_server import InProcessServer

ROOM = "/api/v1/rooms/shop"
FORMER_NAMES = (
    "attention", "crowded", "deaths", "parked", "rests_as", "rests_until", "role.wished", "trial", "wished_at",
    "wishes_version",
)  # fmt: skip

SESSION_TOKEN = "gr~attempt~task_lbtcperyvl4e43mp~1~room_foic7cir5ambrhk5~taster~wed6O5snKiiboYe8DN2rw0tY4hQmvwj7"
"""Of the task that `wait-for-task` printed in the version that wrote the store."""
SESSION_TASK = "task_lbtcperyvl4e43mp"
ROLE_ALERTS, TASK_ALERTS = ("crash_looping", "paused", "unattended"), ("quarantined", "review", "late_result")
RETRIED_TASK = "task_luiiz4szgatds4fb"

INSERT_ANSWER = text(
    "INSERT INTO answers (subject, route, key, digest, status, body, at)"
    " VALUES ('operator', 'HttpMethod.POST /api/v1/rooms', 'k-room', :digest, 201, :body, '2025-10-09T08:53:20.000Z')"
)
CREATE_ROOM = {"name": "shop", "roles": ["oven", "till", "cellar", "taster"]}
CREATED_ROOM = {
    "digest": hashlib.sha256(msgspec.json.encode(CREATE_ROOM)).hexdigest(),
    "body": '{"id":"room_foic7cir5ambrhk5","name":"shop","status":"open","cursor":1}',
}
"""The answer to the request that created the room, of which only the fields that matter here."""


@pytest.fixture
def server(create_database: Callable[[str], MigrationDatabase]) -> Iterator[InProcessServer]:
    database, clock = create_database("third"), MovedClock()
    database.create_third_version()
    with database.begin() as connection:
        connection.execute(INSERT_ANSWER, CREATED_ROOM)
    with InProcessServer(store=database.open(clock), clock=clock) as server:
        yield server


def test_fixture_has_former_names() -> None:
    rows = THIRD_ROWS_FILE.read_text("utf-8")

    # The others stand in answers only, and not in what a store keeps.
    assert [name for name in FORMER_NAMES if name not in rows] == ["crowded"]


def test_answers_have_present_names_only(server: InProcessServer) -> None:
    documents = [
        server.get(path).json
        for path in (
            "/api/v1/events?limit=1000",
            ROOM,
            f"{ROOM}/tasks?limit=1000",
            "/api/v1/alerts",
            "/api/v1/machines",
        )
    ]

    text = json.dumps(documents)
    assert [name for name in FORMER_NAMES if f'"{name}"' in text or f'"{name}.' in text or f'"{name}:' in text] == []
    types = {event["type"] for event in documents[0]}
    assert {"agent.crash_looping", "agent.recovered", "alert.raised", "alert.resolved", "agent.configured"} <= types


def test_held_roles_and_alerts_stay(server: InProcessServer) -> None:
    roles = {role["name"]: role for role in server.get(ROOM).json["roles"]}
    keys = {alert["kind"] for alert in server.get("/api/v1/alerts").json}

    assert roles["oven"]["status"] == "crash_looping"
    assert roles["till"]["status"] == "working"
    assert {"crash_looping", "machine_cloned"} <= keys


def test_alerts_and_their_events_have_ids(server: InProcessServer) -> None:
    rows = server.get("/api/v1/alerts").json
    events = [event for event in server.get("/api/v1/events?limit=1000").json if event["type"].startswith("alert.")]
    open_ids: set[str] = set()
    for event in events:
        data = event["data"]
        assert "key" not in data
        assert data["id"].startswith(f"{data['kind']}:")
        assert ("role" in data, "task" in data) == (data["kind"] in ROLE_ALERTS, data["kind"] in TASK_ALERTS)
        update = open_ids.add if event["type"] == "alert.raised" else open_ids.discard
        update(data["id"])

    assert {"crash_looping:room_foic7cir5ambrhk5/oven", "machine_cloned:m1"} <= open_ids
    assert open_ids == {row["id"] for row in rows if row["kind"] != "late_result"}
    assert "greenroom why shop/oven" in {row["next"] for row in rows}


def test_hold_is_ended_by_restart(server: InProcessServer) -> None:
    restarted = server.post(f"{ROOM}/roles/oven/agent/restart", {}).json

    assert restarted["status"] == "starting"
    assert "crash_looping" not in {alert["kind"] for alert in server.get("/api/v1/alerts").json}


def test_printed_command_still_works(server: InProcessServer) -> None:
    body = {"connection_id": "W1", "attempt": 1, "text": "tastes good"}

    done = server.post(f"/api/v1/tasks/{SESSION_TASK}/complete", body, token=SESSION_TOKEN)

    assert (done.status, done.json["status"], done.json["failures"]) == (200, "completed", 0)


def test_detached_claim_stays_held(server: InProcessServer) -> None:
    server.pass_time(100)
    room = server.get(ROOM).json

    [taster] = [each for each in room["participants"] if each["role"] == "taster"]
    assert (taster["status"], taster["connection_id"]) == ("working", "W1")


def test_repeated_request_gets_first_answer(server: InProcessServer) -> None:
    again = server.post(
        f"/api/v1/tasks/{RETRIED_TASK}/retry", {"reason": "again"}, headers={"idempotency-key": "k-retry"}
    )

    assert (again.status, again.json["failures"]) == (200, 0)
    assert "deaths" not in again.json


def test_kept_room_has_opaque_cursor(server: InProcessServer) -> None:
    again = server.post("/api/v1/rooms", CREATE_ROOM, headers={"idempotency-key": "k-room"})
    following = server.get(f"{ROOM}/events?limit=1&after={again.json['cursor']}")

    assert (again.status, again.json["name"]) == (201, "shop")
    assert [event["seq"] for event in following.json] == [2]


def test_daemon_goes_on(server: InProcessServer) -> None:
    held = [{"room": "shop", "role": "till", "connection_id": "T1"}]
    beat = server.post("/api/v1/machines/m1/heartbeat", {"incarnation": "i1", "agents": held}).json
    assignments = server.get("/api/v1/machines/m1/assignments").json

    assert [(agent["role"], agent["status"]) for agent in beat["agents"]] == [("till", "ok")]
    assert beat["assignments_version"] == assignments["version"]
    assert {each["role"] for each in assignments["assignments"]} == {"oven", "till", "cellar"}
    report = {
        "id": "late", "kind": "exited", "room": "shop", "role": "till", "connection_id": "T1",
        "code": 3, "intended": False, "generation": 1,
    }  # fmt: skip
    taken = server.post("/api/v1/machines/m1/reports", {"incarnation": "i1", "reports": [report]}).json
    assert taken["accepted"] == 1


def test_report_of_former_version_counts_once(server: InProcessServer) -> None:
    """The ids of reports that the server had are known after the upgrade, too."""
    report = {"id": "e0", "kind": "exited", "room": "shop", "role": "oven", "connection_id": "O1", "code": 3}

    taken = server.post("/api/v1/machines/m1/reports", {"incarnation": "i1", "reports": [report]}).json

    assert taken["accepted"] == 0
