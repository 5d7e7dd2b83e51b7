"""A request that is sent twice with the same Idempotency-Key has one effect."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.service.in_process_server import AsgiResponse, InProcessServer

KEY = {"idempotency-key": "k1"}
MESSAGES = "/api/v1/rooms/r/messages"
MESSAGE = {"sender": "user", "text": "do it"}


@pytest.fixture
def server() -> Iterator[InProcessServer]:
    with InProcessServer() as new_server:
        new_server.create_room()
        yield new_server


def count_messages(server: InProcessServer) -> int:
    return len(server.get(MESSAGES).json)


def send_with_key(server: InProcessServer, body: Any = MESSAGE, path: str = MESSAGES, **options: Any) -> AsgiResponse:
    return server.post(path, body, headers=KEY, **options)


def test_repeated_request_gets_same_answer(server: InProcessServer) -> None:
    first, second = send_with_key(server), send_with_key(server)

    assert (201, first.body, first.headers) == (second.status, second.body, second.headers)
    assert 1 == count_messages(server)


def test_repeat_without_key_has_new_effect(server: InProcessServer) -> None:
    server.post(MESSAGES, MESSAGE)
    server.post(MESSAGES, MESSAGE)

    assert 2 == count_messages(server)


def test_key_with_other_body_is_rejected(server: InProcessServer) -> None:
    send_with_key(server)

    answer = send_with_key(server, {**MESSAGE, "text": "something else"})

    assert (422, "idempotency_mismatch") == (answer.status, answer.json["code"])
    assert 1 == count_messages(server)


def test_key_is_per_path_and_caller(server: InProcessServer) -> None:
    server.create_room("other")
    send_with_key(server)
    token = server.post("/api/v1/rooms/r/roles/builder/token").json["token"]

    assert 201 == send_with_key(server, path="/api/v1/rooms/other/messages").status
    assert 403 == send_with_key(server, token=token).status


def test_rejected_request_can_be_retried(server: InProcessServer) -> None:
    path = "/api/v1/rooms/later/messages"
    assert 404 == send_with_key(server, path=path).status
    server.create_room("later")

    assert 201 == send_with_key(server, path=path).status


def test_late_result_is_kept_once(server: InProcessServer) -> None:
    server.join()
    server.send_message()
    task = server.claim().json
    server.join(connection="B")
    path, body = f"/api/v1/tasks/{task['id']}/complete", {"connection_id": "A", "attempt": 1, "text": "late"}

    first, second = send_with_key(server, body, path), send_with_key(server, body, path)

    assert (409, "superseded") == (first.status, first.json["code"])
    assert (first.status, first.body, first.headers) == (second.status, second.body, second.headers)
    assert 1 == len(server.get(f"/api/v1/tasks/{task['id']}").json["late_results"])


def test_key_expires_after_a_day(server: InProcessServer) -> None:
    send_with_key(server)
    server.clock.advance(server.limits.idempotency_kept_s + 1)
    send_with_key(server)

    assert 2 == count_messages(server)


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256])
def test_invalid_key_is_rejected(server: InProcessServer, key: str) -> None:
    answer = server.post(MESSAGES, MESSAGE, headers={"idempotency-key": key})

    assert (400, "invalid_request") == (answer.status, answer.json["code"])
    assert 0 == count_messages(server)
