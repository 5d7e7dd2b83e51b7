"""What an attempt's token may do during the attempt, for a day after its end, and afterwards."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.service.in_process_server import AsgiResponse, InProcessServer

DAY_S = 86_400.0
CLAIM = {"role": "builder", "connection_id": "A"}
MESSAGE = {"sender": "builder", "text": "hello", "connection_id": "A"}


@pytest.fixture
def server() -> Iterator[InProcessServer]:
    with InProcessServer() as new_server:
        new_server.create_room()
        new_server.join()
        yield new_server


def claim_task(server: InProcessServer, connection: str = "A") -> dict[str, Any]:
    answer = server.claim(connection=connection)
    assert 200 == answer.status, answer.body
    task: dict[str, Any] = answer.json
    return task


def act_with_token(
    server: InProcessServer, task: dict[str, Any], verb: str, key: str | None = None, **more: Any
) -> AsgiResponse:
    """Make a call with the task's token."""
    body = {"connection_id": "A", "attempt": task["attempt"], **more}
    headers = {"idempotency-key": key} if key else {}
    return server.post(f"/api/v1/tasks/{task['id']}/{verb}", body, token=task["token"], headers=headers)


def end_attempt(server: InProcessServer, task: dict[str, Any], ending: str) -> None:
    path = f"/api/v1/tasks/{task['id']}"
    if ending == "declined":
        assert 200 == act_with_token(server, task, "decline", reason="no").status
    elif ending == "completed":
        assert 200 == act_with_token(server, task, "complete", text="done").status
    elif ending == "superseded":
        server.join(connection="B")
        server.pass_time(server.limits.takeover_grace_s + 2)
        assert 2 == claim_task(server, "B")["attempt"]
    else:
        assert 200 == server.post(f"{path}/{'cancel' if ending == 'cancelled' else 'reset'}", {}).status


ENDS = ["completed", "declined", "cancelled", "reset", "superseded"]


@pytest.mark.parametrize("ending", ENDS)
def test_token_is_refused_after_attempt(server: InProcessServer, ending: str) -> None:
    server.send_message()
    task = claim_task(server)
    assert 200 == server.get("/api/v1/rooms/r", token=task["token"]).status
    end_attempt(server, task, ending)

    refused = [
        act_with_token(server, task, "start"),
        act_with_token(server, task, "progress", text="half way"),
        act_with_token(server, task, "decline", reason="not now"),
        act_with_token(server, task, "complete", attempt=9),
        server.post("/api/v1/rooms/r/tasks/claim", CLAIM, token=task["token"]),
        server.post("/api/v1/rooms/r/messages", MESSAGE, token=task["token"]),
        server.get("/api/v1/rooms/r", token=task["token"]),
        server.get(f"/api/v1/tasks/{task['id']}", token=task["token"]),
        server.get("/api/v1/rooms/r/events", token=task["token"]),
    ]

    assert [403] * len(refused) == [answer.status for answer in refused]
    assert 1 == len({answer.body for answer in refused})


@pytest.mark.parametrize("ending", ENDS)
def test_late_result_allowed_for_a_day(server: InProcessServer, ending: str) -> None:
    server.send_message()
    task = claim_task(server)
    end_attempt(server, task, ending)
    server.clock.advance(server.limits.attempt_token_grace_s - 60)

    late = act_with_token(server, task, "complete", text="late")

    assert (200 if ending == "completed" else 409) == late.status
    shown = server.get(f"/api/v1/tasks/{task['id']}").json
    assert ["late"] == [each["text"] for each in shown["late_results"]]
    server.clock.advance(61)
    for verb, more in (("complete", {"text": "later"}), ("handoff", {"to": "reviewer", "text": "later"})):
        assert 403 == act_with_token(server, task, verb, **more).status
    assert shown == server.get(f"/api/v1/tasks/{task['id']}").json


def test_grace_period_is_not_restarted(server: InProcessServer) -> None:
    """A token that was refused must not become valid again."""
    server.send_message()
    task = claim_task(server)
    path = f"/api/v1/tasks/{task['id']}"
    server.post(f"{path}/reset", {})
    server.clock.advance(server.limits.attempt_token_grace_s + 1)
    assert 403 == act_with_token(server, task, "complete", text="late").status

    server.join(connection="B")
    assert 2 == claim_task(server, "B")["attempt"]
    assert 403 == act_with_token(server, task, "complete", text="late").status
    server.post(f"{path}/cancel", {})
    assert 403 == act_with_token(server, task, "complete", text="late").status


def test_token_stays_valid_after_silence(server: InProcessServer) -> None:
    server.send_message()
    task = claim_task(server)
    server.pass_time(server.limits.heartbeat_ttl_s + server.limits.task_lost_after_s + 3)
    server.clock.advance(2 * DAY_S)
    assert "lost" == server.get(f"/api/v1/tasks/{task['id']}").json["released_cause"]
    assert 200 == act_with_token(server, task, "start").status


def test_repeated_handoff_gets_same_answer(server: InProcessServer) -> None:
    server.send_message()
    task = claim_task(server)
    first = act_with_token(server, task, "handoff", to="reviewer", text="look at it")
    again = act_with_token(server, task, "handoff", to="reviewer", text="look at it")
    assert (200, first.body) == (again.status, again.body)


@pytest.mark.parametrize("ending", ENDS)
def test_keyed_call_is_answered_again_for_a_day(server: InProcessServer, ending: str) -> None:
    server.send_message()
    task = claim_task(server)
    started = act_with_token(server, task, "start", key="k1")
    progressed = act_with_token(server, task, "progress", key="k2", text="half way")
    assert [200, 200] == [started.status, progressed.status]
    end_attempt(server, task, ending)

    assert started.body == act_with_token(server, task, "start", key="k1").body
    assert progressed.body == act_with_token(server, task, "progress", key="k2", text="half way").body
    assert 403 == act_with_token(server, task, "start", key="k3").status


def test_stored_answer_ends_with_token(server: InProcessServer) -> None:
    """The answer to a late result was stored a moment ago, but the token's day is over."""
    server.send_message()
    task = claim_task(server)
    end_attempt(server, task, "reset")
    server.clock.advance(server.limits.attempt_token_grace_s - 1)
    late = act_with_token(server, task, "complete", key="k", text="late")
    assert 409 == late.status
    assert late.body == act_with_token(server, task, "complete", key="k", text="late").body
    server.clock.advance(2)
    assert 403 == act_with_token(server, task, "complete", key="k", text="late").status


def test_token_is_per_attempt(server: InProcessServer) -> None:
    server.send_message()
    task = claim_task(server)
    end_attempt(server, task, "superseded")
    second = server.claim(connection="B").json
    wrong = {**second, "token": task["token"]}
    assert 403 == act_with_token(server, wrong, "complete", connection_id="B").status
    assert 200 == act_with_token(server, second, "complete", connection_id="B").status


def test_repeated_decline_gets_same_answer(server: InProcessServer) -> None:
    server.send_message()
    task = claim_task(server)
    first = act_with_token(server, task, "decline", reason="no key")
    again = act_with_token(server, task, "decline", reason="no key")
    assert (200, first.body) == (again.status, again.body)
    assert 1 == len([event for event in server.get("/api/v1/events").json if event["type"] == "task.quarantined"])

    assert 200 == server.post(f"/api/v1/tasks/{task['id']}/retry", {}).status
    assert 403 == act_with_token(server, task, "decline", reason="no key").status, (
        "the token is valid although a user decided about the task since"
    )


def test_repeated_decline_is_refused_after_a_day(server: InProcessServer) -> None:
    server.send_message()
    task = claim_task(server)
    act_with_token(server, task, "decline", reason="no key")
    server.pass_time(DAY_S + 60)
    assert 403 == act_with_token(server, task, "decline", reason="no key").status


@pytest.mark.parametrize("ending", ["cancelled", "sent back", "superseded"])
def test_grace_after_silence_starts_at_end(server: InProcessServer, ending: str) -> None:
    server.send_message()
    task = claim_task(server)
    server.pass_time(server.limits.heartbeat_ttl_s + server.limits.task_lost_after_s + 3)
    server.clock.advance(2 * DAY_S)
    server.run(server.tick_loops())
    if ending == "sent back":
        assert 200 == server.post(f"/api/v1/tasks/{task['id']}/send-back", {"to": "backlog"}).status
    elif ending == "superseded":
        server.join(connection="B")
        assert 2 == claim_task(server, "B")["attempt"]
    else:
        end_attempt(server, task, ending)

    assert 409 == act_with_token(server, task, "complete", text="late").status

    assert ["late"] == [each["text"] for each in server.get(f"/api/v1/tasks/{task['id']}").json["late_results"]]
    server.clock.advance(server.limits.attempt_token_grace_s + 1)
    assert 403 == act_with_token(server, task, "complete", text="later").status
