"""A request that is sent twice with the same Idempotency-Key has one effect."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.service.desk import Answer, Desk

KEY = {"idempotency-key": "k1"}
MESSAGES = "/api/v1/rooms/r/messages"
MESSAGE = {"sender": "user", "text": "do it"}


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Desk() as made:
        made.room()
        yield made


def said(desk: Desk) -> int:
    return len(desk.get(MESSAGES).json)


def send(desk: Desk, body: Any = MESSAGE, path: str = MESSAGES, **how: Any) -> Answer:
    return desk.post(path, body, headers=KEY, **how)


def test_the_second_time_is_answered_as_the_first(desk: Desk) -> None:
    first, second = send(desk), send(desk)

    assert (201, first.body, first.headers) == (second.status, second.body, second.headers)
    assert 1 == said(desk)


def test_without_a_key_it_happens_again(desk: Desk) -> None:
    desk.post(MESSAGES, MESSAGE)
    desk.post(MESSAGES, MESSAGE)

    assert 2 == said(desk)


def test_another_body_is_a_mix_up(desk: Desk) -> None:
    send(desk)

    answer = send(desk, {**MESSAGE, "text": "something else"})

    assert (422, "idempotency_mismatch") == (answer.status, answer.json["code"])
    assert 1 == said(desk)


def test_a_key_is_good_for_one_route_and_one_caller(desk: Desk) -> None:
    desk.room("other")
    send(desk)
    token = desk.post("/api/v1/rooms/r/roles/builder/token").json["token"]

    assert 201 == send(desk, path="/api/v1/rooms/other/messages").status
    assert 403 == send(desk, token=token).status


def test_what_was_refused_may_be_tried_again(desk: Desk) -> None:
    path = "/api/v1/rooms/later/messages"
    assert 404 == send(desk, path=path).status
    desk.room("later")

    assert 201 == send(desk, path=path).status


def test_a_kept_late_result_is_kept_once(desk: Desk) -> None:
    desk.join()
    desk.say()
    task = desk.claim().json
    desk.join(connection="B")
    path, body = f"/api/v1/tasks/{task['id']}/complete", {"connection_id": "A", "attempt": 1, "text": "late"}

    first, second = send(desk, body, path), send(desk, body, path)

    assert (409, "superseded") == (first.status, first.json["code"])
    assert (first.status, first.body, first.headers) == (second.status, second.body, second.headers)
    assert 1 == len(desk.get(f"/api/v1/tasks/{task['id']}").json["late_results"])


def test_a_key_is_forgotten_after_a_day(desk: Desk) -> None:
    send(desk)
    desk.clock.move(desk.limits.idempotency_kept_s + 1)
    send(desk)

    assert 2 == said(desk)


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256])
def test_a_key_that_cannot_be_one(desk: Desk, key: str) -> None:
    answer = desk.post(MESSAGES, MESSAGE, headers={"idempotency-key": key})

    assert (400, "invalid_request") == (answer.status, answer.json["code"])
    assert 0 == said(desk)
