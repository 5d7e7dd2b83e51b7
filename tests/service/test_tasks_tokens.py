"""What an attempt's token may do during the attempt, for a day after its end, and afterwards."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.service.desk import Answer, Desk

DAY_S = 86_400.0
CLAIM = {"role": "builder", "connection_id": "A"}
MESSAGE = {"sender": "builder", "text": "hello", "connection_id": "A"}


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Desk() as made:
        made.room()
        made.join()
        yield made


def claimed(desk: Desk, connection: str = "A") -> dict[str, Any]:
    answer = desk.claim(connection=connection)
    assert 200 == answer.status, answer.body
    task: dict[str, Any] = answer.json
    return task


def act(desk: Desk, task: dict[str, Any], verb: str, key: str | None = None, **more: Any) -> Answer:
    """Make a call with the task's token."""
    body = {"connection_id": "A", "attempt": task["attempt"], **more}
    headers = {"idempotency-key": key} if key else {}
    return desk.post(f"/api/v1/tasks/{task['id']}/{verb}", body, token=task["token"], headers=headers)


def ways_to_end(desk: Desk, task: dict[str, Any], how: str) -> None:
    path = f"/api/v1/tasks/{task['id']}"
    if how == "declined":
        assert 200 == act(desk, task, "decline", reason="no").status
    elif how == "completed":
        assert 200 == act(desk, task, "complete", text="done").status
    elif how == "superseded":
        desk.join(connection="B")
        desk.pass_time(desk.limits.takeover_grace_s + 2)
        assert 2 == claimed(desk, "B")["attempt"]
    else:
        assert 200 == desk.post(f"{path}/{'cancel' if how == 'cancelled' else 'reset'}", {}).status


ENDS = ["completed", "declined", "cancelled", "reset", "superseded"]


@pytest.mark.parametrize("how", ENDS)
def test_it_acts_no_more_once_its_attempt_is_over(desk: Desk, how: str) -> None:
    desk.say()
    task = claimed(desk)
    assert 200 == desk.get("/api/v1/rooms/r", token=task["token"]).status
    ways_to_end(desk, task, how)

    refused = [
        act(desk, task, "start"),
        act(desk, task, "progress", text="half way"),
        act(desk, task, "decline", reason="not now"),
        act(desk, task, "complete", attempt=9),
        desk.post("/api/v1/rooms/r/tasks/claim", CLAIM, token=task["token"]),
        desk.post("/api/v1/rooms/r/messages", MESSAGE, token=task["token"]),
        desk.get("/api/v1/rooms/r", token=task["token"]),
        desk.get(f"/api/v1/tasks/{task['id']}", token=task["token"]),
        desk.get("/api/v1/rooms/r/events", token=task["token"]),
    ]

    assert [403] * len(refused) == [answer.status for answer in refused]
    assert 1 == len({answer.body for answer in refused})


@pytest.mark.parametrize("how", ENDS)
def test_for_a_day_it_may_hand_in_what_it_has_and_then_nothing(desk: Desk, how: str) -> None:
    desk.say()
    task = claimed(desk)
    ways_to_end(desk, task, how)
    desk.clock.move(desk.limits.attempt_token_kept_s - 60)

    late = act(desk, task, "complete", text="late")

    assert (200 if how == "completed" else 409) == late.status
    shown = desk.get(f"/api/v1/tasks/{task['id']}").json
    assert ["late"] == [each["text"] for each in shown["late_results"]]
    desk.clock.move(61)
    for verb, more in (("complete", {"text": "later"}), ("handoff", {"to": "reviewer", "text": "later"})):
        assert 403 == act(desk, task, verb, **more).status
    assert shown == desk.get(f"/api/v1/tasks/{task['id']}").json


def test_the_day_is_not_counted_anew_when_somebody_else_claims_or_a_person_decides(desk: Desk) -> None:
    """A token that was refused must not become valid again."""
    desk.say()
    task = claimed(desk)
    path = f"/api/v1/tasks/{task['id']}"
    desk.post(f"{path}/reset", {})
    desk.clock.move(desk.limits.attempt_token_kept_s + 1)
    assert 403 == act(desk, task, "complete", text="late").status

    desk.join(connection="B")
    assert 2 == claimed(desk, "B")["attempt"]
    assert 403 == act(desk, task, "complete", text="late").status
    desk.post(f"{path}/cancel", {})
    assert 403 == act(desk, task, "complete", text="late").status


def test_while_silence_alone_took_the_task_it_is_current_however_long_that_lasts(desk: Desk) -> None:
    desk.say()
    task = claimed(desk)
    desk.pass_time(desk.limits.heartbeat_ttl_s + desk.limits.task_lost_after_s + 3)
    desk.clock.move(2 * DAY_S)
    assert "lost" == desk.get(f"/api/v1/tasks/{task['id']}").json["released_cause"]
    assert 200 == act(desk, task, "start").status


def test_an_accepted_attempt_is_answered_as_the_first_time(desk: Desk) -> None:
    desk.say()
    task = claimed(desk)
    first = act(desk, task, "handoff", to="reviewer", text="look at it")
    again = act(desk, task, "handoff", to="reviewer", text="look at it")
    assert (200, first.body) == (again.status, again.body)


@pytest.mark.parametrize("how", ENDS)
def test_an_earlier_call_is_answered_again_under_its_key_for_a_day(desk: Desk, how: str) -> None:
    desk.say()
    task = claimed(desk)
    started = act(desk, task, "start", key="k1")
    progressed = act(desk, task, "progress", key="k2", text="half way")
    assert [200, 200] == [started.status, progressed.status]
    ways_to_end(desk, task, how)

    assert started.body == act(desk, task, "start", key="k1").body
    assert progressed.body == act(desk, task, "progress", key="k2", text="half way").body
    assert 403 == act(desk, task, "start", key="k3").status


def test_no_record_of_an_answer_outlives_the_token(desk: Desk) -> None:
    """The answer to a late result was stored a moment ago, but the token's day is over."""
    desk.say()
    task = claimed(desk)
    ways_to_end(desk, task, "reset")
    desk.clock.move(desk.limits.attempt_token_kept_s - 1)
    late = act(desk, task, "complete", key="k", text="late")
    assert 409 == late.status
    assert late.body == act(desk, task, "complete", key="k", text="late").body
    desk.clock.move(2)
    assert 403 == act(desk, task, "complete", key="k", text="late").status


def test_a_token_is_good_for_its_own_attempt_only(desk: Desk) -> None:
    desk.say()
    task = claimed(desk)
    ways_to_end(desk, task, "superseded")
    second = desk.claim(connection="B").json
    wrong = {**second, "token": task["token"]}
    assert 403 == act(desk, wrong, "complete", connection_id="B").status
    assert 200 == act(desk, second, "complete", connection_id="B").status


def test_a_decline_is_answered_again_as_the_first_time(desk: Desk) -> None:
    desk.say()
    task = claimed(desk)
    first = act(desk, task, "decline", reason="no key")
    again = act(desk, task, "decline", reason="no key")
    assert (200, first.body) == (again.status, again.body)
    assert 1 == len([event for event in desk.get("/api/v1/events").json if event["type"] == "task.quarantined"])

    assert 200 == desk.post(f"/api/v1/tasks/{task['id']}/retry", {}).status
    assert 403 == act(desk, task, "decline", reason="no key").status, (
        "the token is valid although a user decided about the task since"
    )


def test_a_decline_is_answered_again_for_a_day(desk: Desk) -> None:
    desk.say()
    task = claimed(desk)
    act(desk, task, "decline", reason="no key")
    desk.pass_time(DAY_S + 60)
    assert 403 == act(desk, task, "decline", reason="no key").status


@pytest.mark.parametrize("how", ["cancelled", "sent back", "superseded"])
def test_the_day_of_an_attempt_that_silence_interrupted_begins_when_it_cannot_go_on(desk: Desk, how: str) -> None:
    desk.say()
    task = claimed(desk)
    desk.pass_time(desk.limits.heartbeat_ttl_s + desk.limits.task_lost_after_s + 3)
    desk.clock.move(2 * DAY_S)
    desk.run(desk.tick())
    if how == "sent back":
        assert 200 == desk.post(f"/api/v1/tasks/{task['id']}/send-back", {"to": "backlog"}).status
    elif how == "superseded":
        desk.join(connection="B")
        assert 2 == claimed(desk, "B")["attempt"]
    else:
        ways_to_end(desk, task, how)

    assert 409 == act(desk, task, "complete", text="late").status

    assert ["late"] == [each["text"] for each in desk.get(f"/api/v1/tasks/{task['id']}").json["late_results"]]
    desk.clock.move(desk.limits.attempt_token_kept_s + 1)
    assert 403 == act(desk, task, "complete", text="later").status
