"""A bad request is answered with a problem document that says what to do next, and changes nothing in the store."""

from collections.abc import Iterator
from typing import Any

import pytest

from greenroom.server.operations import Operation
from greenroom.server.routes import OPERATIONS
from tests.service.desk import Answer, Desk

ROOM = "/api/v1/rooms/r"
CLAIM = f"{ROOM}/tasks/claim"
PROTECTED = [call for call in OPERATIONS if call.path not in ("/healthz", "/readyz")]


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Desk() as made:
        made.room()
        yield made


@pytest.fixture(scope="module")
def standing() -> Iterator[Desk]:
    """One server for all the cases that change nothing."""
    with Desk() as made:
        made.room()
        yield made


def check_problem(answer: Answer, status: int, code: str) -> dict[str, Any]:
    told: dict[str, Any] = answer.json
    assert (status, code) == (answer.status, told["code"]), told
    assert "application/problem+json" == answer.headers["content-type"]
    assert told["status"] == status
    assert told["detail"]
    assert told["guidance"]
    return told


def path_of(call: Operation) -> str:
    return call.path.format(room="r", role="builder", task="task_none", machine="m1")


@pytest.mark.parametrize("token", [None, "wrong", "gr~operator~AAAA", "gr~operator~\u00e9"])
@pytest.mark.parametrize("call", PROTECTED, ids=lambda call: call.name)
def test_every_call_needs_a_token(standing: Desk, call: Operation, token: str | None) -> None:
    answer = standing.call(str(call.method.value), path_of(call), {}, token=token)

    check_problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_so_does_what_is_not_there(standing: Desk) -> None:
    check_problem(standing.get("/api/v1/nothing", token=None), 401, "unauthorized")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json"])
def test_health_and_description_need_none(standing: Desk, path: str) -> None:
    assert 200 == standing.get(path, token=None).status


@pytest.mark.parametrize("path", ["/healthz", "/openapi.json", "/api/v1/rooms", "/metrics", "/nothing"])
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:6464"},
        {"host": "127.0.0.1:80:80"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "[::1]evil.example:6464"},
        {"host": ":6464"},
        {"host": ""},
        {"host": None},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
    ],
)
def test_a_foreign_name_is_refused_everywhere(standing: Desk, path: str, headers: dict[str, Any]) -> None:
    check_problem(standing.get(path, headers=headers), 403, "host_refused")


@pytest.mark.parametrize("host", ["localhost:6464", "127.0.0.1:6464", "[::1]:6464", "LocalHost:6464"])
def test_our_own_names_are_good(standing: Desk, host: str) -> None:
    assert 200 == standing.get("/healthz", headers={"host": host}).status
    assert 200 == standing.get("/healthz", headers={"origin": f"http://{host}"}).status


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.1:80", "[::1]:7000", "localhost:65535"])
def test_a_forwarded_port_is_good(standing: Desk, host: str) -> None:
    assert 200 == standing.get("/healthz", headers={"host": host}).status
    assert 200 == standing.get("/healthz", headers={"host": host, "origin": f"http://{host}"}).status
    check_problem(
        standing.get("/healthz", headers={"host": host, "origin": "http://127.0.0.1:9999"}), 403, "host_refused"
    )


LONG = "x" * (1024 * 1024 + 1)
GIANT = {"id": "f", "kind": "exited", "room": "r", "role": "builder", "connection_id": "A", "code": 2**53 + 1}
FACTS_OF_A_GIANT = {"incarnation": "i", "facts": [GIANT]}
BAD: tuple[tuple[str, str, Any, int, str], ...] = (
    ("POST", "/api/v1/rooms/nowhere/messages", {"sender": "user", "text": "hi"}, 404, "not_found"),
    ("POST", f"{ROOM}/participants/nobody/join", {"connection_id": "A"}, 404, "not_found"),
    ("POST", f"{ROOM}/participants/nobody/heartbeat", {"connection_id": "A"}, 404, "not_found"),
    ("POST", f"{ROOM}/participants/bui\nlder/join", {"connection_id": "A"}, 404, "not_found"),
    ("GET", "/api/v1/tasks/task_none", None, 404, "not_found"),
    ("GET", "/api/v1/machines/none", None, 404, "not_found"),
    ("POST", "/api/v1/machines/none/heartbeat", {"incarnation": "i"}, 404, "not_found"),
    ("POST", "/api/v1/rooms", {"name": "s", "roles": ["a\n"]}, 400, "invalid_request"),
    ("POST", "/api/v1/rooms", {"name": "s", "roles": ["user"]}, 400, "invalid_request"),
    ("POST", "/api/v1/rooms", {"name": "s", "roles": []}, 400, "invalid_request"),
    ("POST", "/api/v1/rooms", {"name": "s", "roles": ["a"], "colour": "red"}, 400, "invalid_request"),
    ("POST", "/api/v1/rooms", {"name": "s"}, 400, "invalid_request"),
    ("POST", "/api/v1/rooms", {"name": "s", "roles": ["a"], "max_requests": "2"}, 400, "invalid_request"),
    ("POST", "/api/v1/rooms", {"name": "s", "roles": ["a"], "max_requests": 2**70}, 400, "invalid_request"),
    ("POST", "/api/v1/rooms", None, 400, "invalid_request"),
    ("POST", "/api/v1/rooms", b"[]", 400, "invalid_request"),
    ("POST", "/api/v1/rooms", b"{", 400, "invalid_request"),
    ("POST", "/api/v1/rooms", b"not json", 400, "invalid_request"),
    ("POST", "/api/v1/rooms", b'{"name":"\xff","roles":["a"]}', 400, "invalid_request"),
    ("POST", "/api/v1/rooms", b'{"name":"s","roles":["a"]} x', 400, "invalid_request"),
    ("POST", "/api/v1/rooms", b'{"name":' + b"[" * 100_000, 400, "invalid_request"),
    ("POST", f"{ROOM}/participants/builder/join", b'{"later":' + b"[" * 100_000, 400, "invalid_request"),
    ("POST", f"{ROOM}/participants/builder/heartbeat", b'{"later":' + b"[" * 100_000, 400, "invalid_request"),
    ("POST", f"{ROOM}/messages", {"sender": "user", "text": LONG}, 400, "invalid_request"),
    ("POST", f"{ROOM}/messages", {"sender": "user", "text": "\u00e9" * (600 * 1024)}, 400, "invalid_request"),
    ("POST", f"{ROOM}/messages", {"sender": "user", "text": "a\0b"}, 400, "invalid_request"),
    ("POST", f"{ROOM}/messages", {"sender": "user", "text": ""}, 400, "invalid_request"),
    ("POST", CLAIM, {"role": "builder", "connection_id": "A", "wait_s": -1}, 400, "invalid_request"),
    ("POST", CLAIM, b'{"role":"builder","connection_id":"A","wait_s":NaN}', 400, "invalid_request"),
    ("POST", CLAIM, {"role": "builder", "connection_id": "A"}, 409, "rejoin_required"),
    ("GET", f"{ROOM}/events?after=-1", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/events?after=x", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/events?afer=1", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/events?after=1&after=2", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/events?limit=0", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/events?limit=1001", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/events?after=%FF", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/tasks?status=sleeping", None, 400, "invalid_request"),
    ("GET", "/api/v1/rooms?after=gone", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/messages?after=gone", None, 400, "invalid_request"),
    ("POST", "/api/v1/machines/m1/facts", FACTS_OF_A_GIANT, 400, "invalid_request"),
    ("GET", "/api/v1/machines/m1/wishes?after=1&wait_s=nan", None, 400, "invalid_request"),
    ("GET", "/api/v1/machines/m1/wishes?after=1&wait_s=inf", None, 400, "invalid_request"),
    ("GET", "/api/v1/rooms/r?x=1", None, 400, "invalid_request"),
    ("POST", "/api/v1/rooms?x=1", {"name": "s", "roles": ["a"]}, 400, "invalid_request"),
    ("GET", "/api/v1/nothing", None, 404, "not_found"),
    ("GET", "/", None, 404, "not_found"),
    ("PUT", "/api/v1/rooms", {}, 405, "method_not_allowed"),
    ("DELETE", f"{ROOM}/participants/builder/heartbeat", None, 405, "method_not_allowed"),
)


@pytest.mark.parametrize(("method", "path", "body", "status", "code"), BAD)
def test_bad_input(standing: Desk, method: str, path: str, body: Any, status: int, code: str) -> None:
    before = standing.get("/api/v1/events").json

    answer = standing.call(method, path, body)

    check_problem(answer, status, code)
    assert before == standing.get("/api/v1/events").json


@pytest.mark.parametrize(
    ("path", "token", "status", "code"),
    [
        (f"{ROOM}/messages", "wrong", 401, "unauthorized"),
        (f"{ROOM}/participants/builder/heartbeat", "wrong", 401, "unauthorized"),
        ("/api/v1/nothing", "", 404, "not_found"),
        (f"{ROOM}/messages", "", 413, "too_large"),
    ],
)
def test_who_is_refused_is_heard_out_first(standing: Desk, path: str, token: str, status: int, code: str) -> None:
    """A client whose connection is closed while it still sends never reads the reason."""
    chunks = [b"x" * 65536 for _ in range(standing.limits.body_bytes_max // 65536 + 3)]
    told = {"content-type": "application/json", "content-length": str(65536 * len(chunks))}

    answer = standing.post(path, token=token, headers=told, chunks=chunks)

    check_problem(answer, status, code)
    assert [] == chunks


def test_who_asks_before_sending_is_answered_at_once(standing: Desk) -> None:
    told = {"content-type": "application/json", "content-length": "99999999", "expect": "100-continue"}
    unsent = [b"x", b"x"]

    answer = standing.post(f"{ROOM}/messages", token="wrong", headers=told, chunks=unsent)

    check_problem(answer, 401, "unauthorized")
    assert [b"x", b"x"] == unsent


def test_a_bad_field_is_named(standing: Desk) -> None:
    told = standing.post("/api/v1/rooms", {"name": "s", "roles": ["a", "b c"]}).json

    assert "`$.roles[1]`" in told["guidance"]


def test_what_is_allowed_is_told(standing: Desk) -> None:
    assert "GET" in standing.put("/api/v1/rooms", {}).headers["allow"]


def test_a_closed_room_takes_nothing(desk: Desk) -> None:
    desk.post(f"{ROOM}/close", {})

    check_problem(desk.post(f"{ROOM}/messages", {"sender": "user", "text": "hi"}), 409, "room_closed")
    check_problem(desk.post(f"{ROOM}/participants/builder/join", {"connection_id": "A"}), 409, "room_closed")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"])
def test_only_json_is_json(desk: Desk, content_type: str) -> None:
    body = {"name": "s", "roles": ["a"]}

    answer = desk.post("/api/v1/rooms", body, headers={"content-type": content_type})

    check_problem(answer, 415, "unsupported_media_type")
    assert 404 == desk.get("/api/v1/rooms/s").status


def test_json_may_say_its_encoding(desk: Desk) -> None:
    headers = {"content-type": 'Application/JSON; charset="UTF-8"'}
    assert 201 == desk.post("/api/v1/rooms", {"name": "s", "roles": ["a"]}, headers=headers).status


def test_a_body_that_is_too_large_by_its_own_word(desk: Desk) -> None:
    size = str(desk.limits.body_bytes_max + 1)
    check_problem(desk.post("/api/v1/rooms", b"{}", headers={"content-length": size}), 413, "too_large")


@pytest.mark.parametrize("path", ["/api/v1/rooms", f"{ROOM}/participants/builder/heartbeat"])
def test_a_body_that_is_too_large_in_pieces(desk: Desk, path: str) -> None:
    chunks = [b" " * 1024 * 1024] * 8
    headers = {"content-length": None, "transfer-encoding": "chunked", "content-type": "application/json"}

    answer = desk.post(path, chunks=chunks, headers=headers)

    check_problem(answer, 413, "too_large")


def test_no_body_is_an_empty_one(desk: Desk) -> None:
    task = desk.say()["task"]

    assert "closed" == desk.post(f"/api/v1/tasks/{task['id']}/cancel").json["status"]


def token_for(desk: Desk, path: str) -> str:
    answer = desk.post(path)
    assert 200 == answer.status, answer.body
    return str(answer.json["token"])


def test_another_token_learns_nothing_about_what_is_there(desk: Desk) -> None:
    desk.room("other")
    builder = token_for(desk, f"{ROOM}/roles/builder/token")
    machine = token_for(desk, "/api/v1/machines/m9/token")
    beat = {"connection_id": "A"}

    answers = [
        desk.get("/api/v1/rooms/other", token=builder),
        desk.get("/api/v1/rooms/nowhere", token=builder),
        desk.post(f"{ROOM}/participants/reviewer/heartbeat", beat, token=builder),
        desk.post(f"{ROOM}/participants/nobody/heartbeat", beat, token=builder),
        desk.post("/api/v1/rooms/other/participants/builder/join", beat, token=builder),
        desk.post(f"{ROOM}/participants/builder/join", beat, token=machine),
        desk.get("/api/v1/tasks/task_none", token=builder),
        desk.get("/api/v1/machines/m1", token=machine),
        desk.post("/api/v1/machines/m1/heartbeat", {"incarnation": "i"}, token=machine),
        desk.post(f"{ROOM}/roles/builder/token", token=builder),
        desk.post("/api/v1/machines/m9/token", token=machine),
        desk.get("/api/v1/events", token=builder),
        desk.get("/metrics", token=machine),
        desk.post("/api/v1/rooms", {"name": "s", "roles": ["a"]}, token=builder),
    ]

    for answer in answers:
        check_problem(answer, 403, "forbidden")
    assert 1 == len({answer.body for answer in answers})
    assert 200 == desk.post(f"{ROOM}/participants/builder/join", beat, token=builder).status


def test_an_attempts_token_ends_with_it(desk: Desk) -> None:
    desk.join()
    desk.say()
    task = desk.claim().json
    body = {"connection_id": "A", "attempt": 1}
    path = f"/api/v1/tasks/{task['id']}"
    first = desk.post(f"{path}/complete", body, token=task["token"])
    assert 200 == first.status

    assert first.body == desk.post(f"{path}/complete", body, token=task["token"]).body
    check_problem(desk.post(f"{path}/progress", {**body, "text": "x"}, token=task["token"]), 403, "forbidden")
    check_problem(desk.get(ROOM, token=task["token"]), 403, "forbidden")
    desk.clock.move(desk.limits.attempt_token_kept_s + 1)
    check_problem(desk.post(f"{path}/complete", body, token=task["token"]), 403, "forbidden")
