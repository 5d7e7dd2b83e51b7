"""What users do to tasks, over HTTP: bodies, statuses, problems, and one effect for each Idempotency-Key."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from greenroom.domain.errors import StoreUnavailable
from greenroom.service import decisions, tasks
from tests.service.desk import Answer, Desk


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Desk() as made:
        made.room()
        made.join()
        yield made


def item(desk: Desk, **more: Any) -> dict[str, Any]:
    answer = desk.post("/api/v1/rooms/r/backlog", {"text": "tidy up", **more})
    assert 201 == answer.status, answer.body
    task: dict[str, Any] = answer.json
    return task


def decide(desk: Desk, task: str, verb: str, key: str | None = None, **body: Any) -> Answer:
    return desk.post(f"/api/v1/tasks/{task}/{verb}", body, headers={"idempotency-key": key} if key else {})


def test_from_the_backlog_to_an_accepted_result(desk: Desk) -> None:
    task = item(desk)
    assert ("backlog", "backlog", "builder") == (task["status"], task["origin"], task["target_role"])
    assert "pending" == decide(desk, task["id"], "queue").json["status"]
    claimed = desk.claim().json
    assert "pending_review" == desk.act(claimed, "complete", text="done").json["status"]
    back = decide(desk, task["id"], "send-back", reason="not quite").json
    assert "pending" == back["status"]

    again = desk.claim().json
    assert (2, ["not quite"]) == (again["attempt"], [note["text"] for note in again["notes"]])
    assert 200 == decide(desk, task["id"], "note", text="nearly").status
    assert ["nearly"] == desk.beat()["notes"]
    desk.act(again, "complete", text="better")
    accepted = decide(desk, task["id"], "accept").json

    assert ("completed", "better", 2) == (accepted["status"], accepted["result"], accepted["accepted_attempt"])
    assert ["tidy up"] == [each["text"] for each in desk.get("/api/v1/rooms/r/tasks?status=completed").json]


def test_a_quarantined_task_is_sent_to_another_role(desk: Desk) -> None:
    desk.say()
    task = desk.claim().json
    desk.act(task, "decline", reason="no key")
    [attention] = [each for each in desk.get("/api/v1/attention").json if each["key"].startswith("quarantined:")]
    assert f"quarantined:{task['id']}" == attention["key"]

    closed = decide(desk, task["id"], "retry", to="reviewer").json

    assert "closed" == closed["status"]
    sent = desk.get(f"/api/v1/tasks/{closed['next_task']}").json
    assert ("pending", "reviewer", task["id"]) == (sent["status"], sent["target_role"], sent["request"])
    assert [] == desk.get("/api/v1/attention").json


@pytest.mark.parametrize("verb", ["queue", "retry", "accept", "send-back", "reset", "cancel"])
def test_a_move_that_cannot_be_says_what_can(desk: Desk, verb: str) -> None:
    desk.say()
    task = desk.claim().json
    desk.act(task, "complete", text="done")
    before = desk.get("/api/v1/events").json

    refused = decide(desk, task["id"], verb)

    problem = refused.json
    assert (409, "invalid_transition", "completed") == (refused.status, problem["code"], problem["current"])
    assert {"reset": "release", "send-back": "send_back"}.get(verb, verb) == problem["attempted"]
    assert [] == problem.get("allowed", [])
    assert problem["guidance"]
    assert before == desk.get("/api/v1/events").json


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
def test_a_body_that_cannot_be_meant(desk: Desk, verb: str, body: dict[str, Any]) -> None:
    task = item(desk)
    answer = decide(desk, task["id"], verb, **body)
    assert (400, "invalid_request") == (answer.status, answer.json["code"])
    assert task == desk.get(f"/api/v1/tasks/{task['id']}").json


KEYED = [("queue", {}), ("send-back", {"reason": "later"}), ("note", {"text": "x"}), ("cancel", {"reason": "why"})]


@pytest.mark.parametrize(("verb", "body"), KEYED)
def test_each_is_done_once_under_its_key(desk: Desk, verb: str, body: dict[str, Any]) -> None:
    task = item(desk)["id"]
    if verb == "send-back":
        decide(desk, task, "queue")
    first = decide(desk, task, verb, key="k", **body)
    events = desk.get("/api/v1/events").json

    again = decide(desk, task, verb, key="k", **body)

    assert (200, first.body) == (again.status, again.body)
    assert events == desk.get("/api/v1/events").json
    mixed_up = decide(desk, task, verb, key="k", **{**body, "text" if verb == "note" else "reason": "another"})
    assert (422, "idempotency_mismatch") == (mixed_up.status, mixed_up.json["code"])


def test_an_item_is_written_down_once_under_its_key(desk: Desk) -> None:
    path, key = "/api/v1/rooms/r/backlog", {"idempotency-key": "k"}
    first = desk.post(path, {"text": "tidy up"}, headers=key)
    again = desk.post(path, {"text": "tidy up"}, headers=key)
    assert (201, first.body) == (again.status, again.body)
    assert 1 == len(desk.look()["tasks"])


def test_two_at_once_under_one_key_have_one_effect(desk: Desk) -> None:
    desk.say()
    task = desk.claim().json
    body = {"connection_id": "A", "attempt": 1, "to": "reviewer", "text": "yours"}

    async def together() -> list[Answer]:
        path, key = f"/api/v1/tasks/{task['id']}/handoff", {"idempotency-key": "k"}
        return await asyncio.gather(*(desk.send("POST", path, body, headers=key).answer() for _ in range(8)))

    answers = desk.run(together())

    assert {200} == {answer.status for answer in answers}
    assert 1 == len({answer.body for answer in answers})
    types = [event["type"] for event in desk.get("/api/v1/rooms/r/events").json]
    assert (1, 2) == (types.count("task.completed"), types.count("task.opened"))


def test_a_key_is_of_one_path(desk: Desk) -> None:
    first, second = item(desk)["id"], item(desk)["id"]
    assert first == decide(desk, first, "queue", key="k").json["id"]
    assert second == decide(desk, second, "queue", key="k").json["id"]


def test_an_error_of_ours_is_not_kept_under_the_key(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    task = item(desk)["id"]

    def broken(*_: object) -> object:
        raise StoreUnavailable("The disk is full.", "Make room on it.")

    with monkeypatch.context() as patch:
        patch.setattr(decisions, "queue", broken)
        assert 503 == decide(desk, task, "queue", key="k").status
    assert "pending" == decide(desk, task, "queue", key="k").json["status"]


def test_a_refusal_that_kept_something_is_kept_with_it_or_not_at_all(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The late result and the stored answer that reports it are written in one transaction."""
    desk.say()
    task = desk.claim().json
    decide(desk, task["id"], "reset")
    body = {"connection_id": "A", "attempt": 1, "text": "late"}
    path, key = f"/api/v1/tasks/{task['id']}/complete", {"idempotency-key": "k"}
    real = tasks.complete

    def breaks_afterwards(*arguments: Any) -> object:
        real(*arguments)
        raise StoreUnavailable("The disk is full.", "Make room on it.")

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "complete", breaks_afterwards)
        assert 503 == desk.post(path, body, headers=key).status
    assert [] == desk.get(f"/api/v1/tasks/{task['id']}").json["late_results"]

    first, again = desk.post(path, body, headers=key), desk.post(path, body, headers=key)
    assert (409, first.body) == (again.status, again.body)
    assert 1 == len(desk.get(f"/api/v1/tasks/{task['id']}").json["late_results"])


def test_a_closed_room_takes_no_item(desk: Desk) -> None:
    desk.room("other")
    desk.post("/api/v1/rooms/other/close", {})
    answer = desk.post("/api/v1/rooms/other/backlog", {"text": "tidy up"})
    assert (409, "room_closed") == (answer.status, answer.json["code"])
    assert 404 == desk.post("/api/v1/rooms/nowhere/backlog", {"text": "tidy up"}).status
    assert 404 == decide(desk, "task_none", "queue").status
