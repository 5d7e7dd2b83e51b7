"""What users do to tasks, over HTTP: bodies, statuses, problems, and one effect for each Idempotency-Key."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from greenroom.domain.errors import StoreUnavailable
from greenroom.service import task_admin, tasks
from tests.service.in_process_server import AsgiResponse, InProcessServer


@pytest.fixture
def server() -> Iterator[InProcessServer]:
    with InProcessServer() as new_server:
        new_server.create_room()
        new_server.join()
        yield new_server


def add_to_backlog(server: InProcessServer, **more: Any) -> dict[str, Any]:
    answer = server.post("/api/v1/rooms/r/backlog", {"text": "tidy up", **more})
    assert 201 == answer.status, answer.body
    task: dict[str, Any] = answer.json
    return task


def act_as_user(server: InProcessServer, task: str, verb: str, key: str | None = None, **body: Any) -> AsgiResponse:
    return server.post(f"/api/v1/tasks/{task}/{verb}", body, headers={"idempotency-key": key} if key else {})


def test_backlog_item_to_accepted_result(server: InProcessServer) -> None:
    task = add_to_backlog(server)
    assert ("backlog", "backlog", "builder") == (task["status"], task["origin"], task["target_role"])
    assert "pending" == act_as_user(server, task["id"], "queue").json["status"]
    claimed = server.claim().json
    assert "pending_review" == server.act_on_task(claimed, "complete", text="done").json["status"]
    back = act_as_user(server, task["id"], "send-back", reason="not quite").json
    assert "pending" == back["status"]

    again = server.claim().json
    assert (2, ["not quite"]) == (again["attempt"], [note["text"] for note in again["notes"]])
    assert 200 == act_as_user(server, task["id"], "note", text="nearly").status
    assert ["nearly"] == server.beat()["notes"]
    server.act_on_task(again, "complete", text="better")
    accepted = act_as_user(server, task["id"], "accept").json

    assert ("completed", "better", 2) == (accepted["status"], accepted["result"], accepted["accepted_attempt"])
    assert ["tidy up"] == [each["text"] for each in server.get("/api/v1/rooms/r/tasks?status=completed").json]


def test_quarantined_task_goes_to_another_role(server: InProcessServer) -> None:
    server.send_message()
    task = server.claim().json
    server.act_on_task(task, "decline", reason="no key")
    [alert] = [each for each in server.get("/api/v1/alerts").json if each["kind"] == "quarantined"]
    assert f"quarantined:{task['id']}" == alert["id"]

    closed = act_as_user(server, task["id"], "retry", to="reviewer").json

    assert "closed" == closed["status"]
    sent = server.get(f"/api/v1/tasks/{closed['next_task']}").json
    assert ("pending", "reviewer", task["id"]) == (sent["status"], sent["target_role"], sent["request"])
    assert [] == server.get("/api/v1/alerts").json


@pytest.mark.parametrize("verb", ["queue", "retry", "accept", "send-back", "reset", "cancel"])
def test_invalid_action_lists_allowed(server: InProcessServer, verb: str) -> None:
    server.send_message()
    task = server.claim().json
    server.act_on_task(task, "complete", text="done")
    before = server.get("/api/v1/events").json

    refused = act_as_user(server, task["id"], verb)

    problem = refused.json
    assert (409, "invalid_transition", "completed") == (refused.status, problem["code"], problem["current"])
    assert {"reset": "release", "send-back": "send_back"}.get(verb, verb) == problem["attempted"]
    assert [] == problem.get("allowed", [])
    assert problem["guidance"]
    assert before == server.get("/api/v1/events").json


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("accept", {"attempt": 0}),
        ("accept", {"attempt": "1"}),
        ("send-back", {"to": "reviewer"}),
        ("retry", {"to": "two\nlines"}),
        ("note", {}),
        ("note", {"text": ""}),
        ("note", {"text": "x" * (4 * 1024 + 1)}),
        ("queue", {"to": "builder"}),
        ("cancel", {"reason": "x" * (16 * 1024 + 1)}),
    ],
)
def test_invalid_body_is_rejected(server: InProcessServer, verb: str, body: dict[str, Any]) -> None:
    task = add_to_backlog(server)
    answer = act_as_user(server, task["id"], verb, **body)
    assert (400, "invalid_request") == (answer.status, answer.json["code"])
    assert task == server.get(f"/api/v1/tasks/{task['id']}").json


KEYED = [("queue", {}), ("send-back", {"reason": "later"}), ("note", {"text": "x"}), ("cancel", {"reason": "why"})]


@pytest.mark.parametrize(("verb", "body"), KEYED)
def test_action_is_idempotent(server: InProcessServer, verb: str, body: dict[str, Any]) -> None:
    task = add_to_backlog(server)["id"]
    if verb == "send-back":
        act_as_user(server, task, "queue")
    first = act_as_user(server, task, verb, key="k", **body)
    events = server.get("/api/v1/events").json

    again = act_as_user(server, task, verb, key="k", **body)

    assert (200, first.body) == (again.status, again.body)
    assert events == server.get("/api/v1/events").json
    mismatch = act_as_user(server, task, verb, key="k", **{**body, "text" if verb == "note" else "reason": "another"})
    assert (422, "idempotency_mismatch") == (mismatch.status, mismatch.json["code"])


def test_backlog_item_is_idempotent(server: InProcessServer) -> None:
    path, key = "/api/v1/rooms/r/backlog", {"idempotency-key": "k"}
    first = server.post(path, {"text": "tidy up"}, headers=key)
    again = server.post(path, {"text": "tidy up"}, headers=key)
    assert (201, first.body) == (again.status, again.body)
    assert 1 == len(server.show_room()["tasks"])


def test_concurrent_requests_with_one_key(server: InProcessServer) -> None:
    server.send_message()
    task = server.claim().json
    body = {"connection_id": "A", "attempt": 1, "to": "reviewer", "text": "yours"}

    async def send_all() -> list[AsgiResponse]:
        path, key = f"/api/v1/tasks/{task['id']}/handoff", {"idempotency-key": "k"}
        return await asyncio.gather(*(server.send("POST", path, body, headers=key).response() for _ in range(8)))

    answers = server.run(send_all())

    assert {200} == {answer.status for answer in answers}
    assert 1 == len({answer.body for answer in answers})
    types = [event["type"] for event in server.get("/api/v1/rooms/r/events").json]
    assert (1, 2) == (types.count("task.completed"), types.count("task.opened"))


def test_key_is_per_path(server: InProcessServer) -> None:
    first, second = add_to_backlog(server)["id"], add_to_backlog(server)["id"]
    assert first == act_as_user(server, first, "queue", key="k").json["id"]
    assert second == act_as_user(server, second, "queue", key="k").json["id"]


def test_server_error_is_not_stored(server: InProcessServer, monkeypatch: pytest.MonkeyPatch) -> None:
    task = add_to_backlog(server)["id"]

    def fail(*_: object) -> object:
        raise StoreUnavailable("The disk is full.", "Make room on it.")

    with monkeypatch.context() as patch:
        patch.setattr(task_admin, "queue_task", fail)
        assert 503 == act_as_user(server, task, "queue", key="k").status
    assert "pending" == act_as_user(server, task, "queue", key="k").json["status"]


def test_late_result_and_answer_are_atomic(server: InProcessServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The late result and the stored answer that reports it are written in one transaction."""
    server.send_message()
    task = server.claim().json
    act_as_user(server, task["id"], "reset")
    body = {"connection_id": "A", "attempt": 1, "text": "late"}
    path, key = f"/api/v1/tasks/{task['id']}/complete", {"idempotency-key": "k"}
    original = tasks.complete

    def complete_then_fail(*arguments: Any) -> object:
        original(*arguments)
        raise StoreUnavailable("The disk is full.", "Make room on it.")

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "complete", complete_then_fail)
        assert 503 == server.post(path, body, headers=key).status
    assert [] == server.get(f"/api/v1/tasks/{task['id']}").json["late_results"]

    first, again = server.post(path, body, headers=key), server.post(path, body, headers=key)
    assert (409, first.body) == (again.status, again.body)
    assert 1 == len(server.get(f"/api/v1/tasks/{task['id']}").json["late_results"])


def test_closed_room_rejects_backlog_item(server: InProcessServer) -> None:
    server.create_room("other")
    server.post("/api/v1/rooms/other/close", {})
    answer = server.post("/api/v1/rooms/other/backlog", {"text": "tidy up"})
    assert (409, "room_closed") == (answer.status, answer.json["code"])
    assert 404 == server.post("/api/v1/rooms/nowhere/backlog", {"text": "tidy up"}).status
    assert 404 == act_as_user(server, "task_none", "queue").status
