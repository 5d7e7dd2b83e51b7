"""A bad request is answered with a problem document that says what to do next, and changes nothing in the store."""

from collections.abc import Iterator
from typing import Any

import pytest

from greenroom.server.endpoints import Endpoint
from greenroom.server.routes import OPERATIONS
from tests.service.in_process_server import AsgiResponse, InProcessServer

ROOM = "/api/v1/rooms/r"
CLAIM = f"{ROOM}/tasks/claim"
PROTECTED = [call for call in OPERATIONS if call.path not in ("/healthz", "/readyz")]


@pytest.fixture
def server() -> Iterator[InProcessServer]:
    with InProcessServer() as new_server:
        new_server.create_room()
        yield new_server


@pytest.fixture(scope="module")
def shared_server() -> Iterator[InProcessServer]:
    """One server for all the cases that change nothing."""
    with InProcessServer() as new_server:
        new_server.create_room()
        yield new_server


def check_problem(answer: AsgiResponse, status: int, code: str) -> dict[str, Any]:
    problem: dict[str, Any] = answer.json
    assert (status, code) == (answer.status, problem["code"]), problem
    assert "application/problem+json" == answer.headers["content-type"]
    assert problem["status"] == status
    assert problem["detail"]
    assert problem["guidance"]
    return problem


def fill_path(call: Endpoint) -> str:
    return call.path.format(room="r", role="builder", task="task_none", machine="m1")


@pytest.mark.parametrize("token", [None, "wrong", "gr~operator~AAAA", "gr~operator~\u00e9"])
@pytest.mark.parametrize("call", PROTECTED, ids=lambda call: call.name)
def test_every_operation_needs_token(shared_server: InProcessServer, call: Endpoint, token: str | None) -> None:
    answer = shared_server.call(str(call.method.value), fill_path(call), {}, token=token)

    check_problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_unknown_path_needs_token(shared_server: InProcessServer) -> None:
    check_problem(shared_server.get("/api/v1/nothing", token=None), 401, "unauthorized")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json"])
def test_health_and_openapi_need_no_token(shared_server: InProcessServer, path: str) -> None:
    assert 200 == shared_server.get(path, token=None).status


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
def test_foreign_host_or_origin_is_refused(shared_server: InProcessServer, path: str, headers: dict[str, Any]) -> None:
    check_problem(shared_server.get(path, headers=headers), 403, "host_refused")


@pytest.mark.parametrize("host", ["localhost:6464", "127.0.0.1:6464", "[::1]:6464", "LocalHost:6464"])
def test_own_hosts_are_accepted(shared_server: InProcessServer, host: str) -> None:
    assert 200 == shared_server.get("/healthz", headers={"host": host}).status
    assert 200 == shared_server.get("/healthz", headers={"origin": f"http://{host}"}).status


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.1:80", "[::1]:7000", "localhost:65535"])
def test_forwarded_port_is_accepted(shared_server: InProcessServer, host: str) -> None:
    assert 200 == shared_server.get("/healthz", headers={"host": host}).status
    assert 200 == shared_server.get("/healthz", headers={"host": host, "origin": f"http://{host}"}).status
    check_problem(
        shared_server.get("/healthz", headers={"host": host, "origin": "http://127.0.0.1:9999"}), 403, "host_refused"
    )


LONG_TEXT = "x" * (1024 * 1024 + 1)
HUGE_CODE_FACT = {"id": "f", "kind": "exited", "room": "r", "role": "builder", "connection_id": "A", "code": 2**53 + 1}
HUGE_CODE_FACTS = {"incarnation": "i", "reports": [HUGE_CODE_FACT]}
BAD_REQUESTS: tuple[tuple[str, str, Any, int, str], ...] = (
    ("POST", "/api/v1/rooms/nowhere/messages", {"sender": "user", "text": "hi"}, 404, "not_found"),
    ("POST", f"{ROOM}/participants/unknown/join", {"connection_id": "A"}, 404, "not_found"),
    ("POST", f"{ROOM}/participants/unknown/heartbeat", {"connection_id": "A"}, 404, "not_found"),
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
    ("POST", f"{ROOM}/messages", {"sender": "user", "text": LONG_TEXT}, 400, "invalid_request"),
    ("POST", f"{ROOM}/messages", {"sender": "user", "text": "\u00e9" * (600 * 1024)}, 400, "invalid_request"),
    ("POST", f"{ROOM}/messages", {"sender": "user", "text": "a\0b"}, 400, "invalid_request"),
    ("POST", f"{ROOM}/messages", {"sender": "user", "text": ""}, 400, "invalid_request"),
    ("POST", CLAIM, {"role": "builder", "connection_id": "A", "wait_s": -1}, 400, "invalid_request"),
    ("POST", CLAIM, b'{"role":"builder","connection_id":"A","wait_s":NaN}', 400, "invalid_request"),
    ("POST", CLAIM, {"role": "builder", "connection_id": "A"}, 409, "rejoin_required"),
    ("GET", f"{ROOM}/events?after=1", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/events?after=x", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/events?after=", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/events?after=x&newest=1", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/events?newest=-1", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/events?newest=x", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/events?afer=1", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/events?after=1&after=2", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/events?limit=0", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/events?limit=1001", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/events?after=%FF", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/tasks?status=sleeping", None, 400, "invalid_request"),
    ("GET", "/api/v1/rooms?after=gone", None, 400, "invalid_request"),
    ("GET", f"{ROOM}/messages?after=gone", None, 400, "invalid_request"),
    ("POST", "/api/v1/machines/m1/reports", HUGE_CODE_FACTS, 400, "invalid_request"),
    ("GET", "/api/v1/machines/m1/assignments?after=1&wait_s=nan", None, 400, "invalid_request"),
    ("GET", "/api/v1/machines/m1/assignments?after=1&wait_s=inf", None, 400, "invalid_request"),
    ("GET", "/api/v1/rooms/r?x=1", None, 400, "invalid_request"),
    ("POST", "/api/v1/rooms?x=1", {"name": "s", "roles": ["a"]}, 400, "invalid_request"),
    ("GET", "/api/v1/nothing", None, 404, "not_found"),
    ("GET", "/", None, 404, "not_found"),
    ("PUT", "/api/v1/rooms", {}, 405, "method_not_allowed"),
    ("DELETE", f"{ROOM}/participants/builder/heartbeat", None, 405, "method_not_allowed"),
)


@pytest.mark.parametrize(("method", "path", "body", "status", "code"), BAD_REQUESTS)
def test_bad_input(shared_server: InProcessServer, method: str, path: str, body: Any, status: int, code: str) -> None:
    before = shared_server.get("/api/v1/events").json

    answer = shared_server.call(method, path, body)

    check_problem(answer, status, code)
    assert before == shared_server.get("/api/v1/events").json


@pytest.mark.parametrize(
    ("path", "token", "status", "code"),
    [
        (f"{ROOM}/messages", "wrong", 401, "unauthorized"),
        (f"{ROOM}/participants/builder/heartbeat", "wrong", 401, "unauthorized"),
        ("/api/v1/nothing", "", 404, "not_found"),
        (f"{ROOM}/messages", "", 413, "too_large"),
    ],
)
def test_body_is_drained_before_error(
    shared_server: InProcessServer, path: str, token: str, status: int, code: str
) -> None:
    """A client whose connection is closed while it still sends never reads the reason."""
    chunks = [b"x" * 65536 for _ in range(shared_server.limits.body_bytes_max // 65536 + 3)]
    headers = {"content-type": "application/json", "content-length": str(65536 * len(chunks))}

    answer = shared_server.post(path, token=token, headers=headers, chunks=chunks)

    check_problem(answer, status, code)
    assert [] == chunks


def test_expect_continue_error_is_immediate(shared_server: InProcessServer) -> None:
    headers = {"content-type": "application/json", "content-length": "99999999", "expect": "100-continue"}
    unsent = [b"x", b"x"]

    answer = shared_server.post(f"{ROOM}/messages", token="wrong", headers=headers, chunks=unsent)

    check_problem(answer, 401, "unauthorized")
    assert [b"x", b"x"] == unsent


def test_problem_names_bad_field(shared_server: InProcessServer) -> None:
    problem = shared_server.post("/api/v1/rooms", {"name": "s", "roles": ["a", "b c"]}).json

    assert "`$.roles[1]`" in problem["guidance"]


def test_405_lists_allowed_methods(shared_server: InProcessServer) -> None:
    assert "GET" in shared_server.put("/api/v1/rooms", {}).headers["allow"]


def test_closed_room_rejects_messages_and_joins(server: InProcessServer) -> None:
    server.post(f"{ROOM}/close", {})

    check_problem(server.post(f"{ROOM}/messages", {"sender": "user", "text": "hi"}), 409, "room_closed")
    check_problem(server.post(f"{ROOM}/participants/builder/join", {"connection_id": "A"}), 409, "room_closed")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"])
def test_only_json_content_type(server: InProcessServer, content_type: str) -> None:
    body = {"name": "s", "roles": ["a"]}

    answer = server.post("/api/v1/rooms", body, headers={"content-type": content_type})

    check_problem(answer, 415, "unsupported_media_type")
    assert 404 == server.get("/api/v1/rooms/s").status


def test_json_charset_is_accepted(server: InProcessServer) -> None:
    headers = {"content-type": 'Application/JSON; charset="UTF-8"'}
    assert 201 == server.post("/api/v1/rooms", {"name": "s", "roles": ["a"]}, headers=headers).status


def test_content_length_over_limit(server: InProcessServer) -> None:
    size = str(server.limits.body_bytes_max + 1)
    check_problem(server.post("/api/v1/rooms", b"{}", headers={"content-length": size}), 413, "too_large")


@pytest.mark.parametrize("path", ["/api/v1/rooms", f"{ROOM}/participants/builder/heartbeat"])
def test_chunked_body_over_limit(server: InProcessServer, path: str) -> None:
    chunks = [b" " * 1024 * 1024] * 8
    headers = {"content-length": None, "transfer-encoding": "chunked", "content-type": "application/json"}

    answer = server.post(path, chunks=chunks, headers=headers)

    check_problem(answer, 413, "too_large")


def test_missing_body_is_empty(server: InProcessServer) -> None:
    task = server.send_message()["task"]

    assert "closed" == server.post(f"/api/v1/tasks/{task['id']}/cancel").json["status"]


def create_token(server: InProcessServer, path: str) -> str:
    answer = server.post(path)
    assert 200 == answer.status, answer.body
    return str(answer.json["token"])


def test_403_reveals_nothing(server: InProcessServer) -> None:
    server.create_room("other")
    builder = create_token(server, f"{ROOM}/roles/builder/token")
    machine = create_token(server, "/api/v1/machines/m9/token")
    beat = {"connection_id": "A"}

    answers = [
        server.get("/api/v1/rooms/other", token=builder),
        server.get("/api/v1/rooms/nowhere", token=builder),
        server.post(f"{ROOM}/participants/reviewer/heartbeat", beat, token=builder),
        server.post(f"{ROOM}/participants/unknown/heartbeat", beat, token=builder),
        server.post("/api/v1/rooms/other/participants/builder/join", beat, token=builder),
        server.post(f"{ROOM}/participants/builder/join", beat, token=machine),
        server.get("/api/v1/tasks/task_none", token=builder),
        server.get("/api/v1/machines/m1", token=machine),
        server.post("/api/v1/machines/m1/heartbeat", {"incarnation": "i"}, token=machine),
        server.post(f"{ROOM}/roles/builder/token", token=builder),
        server.post("/api/v1/machines/m9/token", token=machine),
        server.get("/api/v1/events", token=builder),
        server.get("/metrics", token=machine),
        server.post("/api/v1/rooms", {"name": "s", "roles": ["a"]}, token=builder),
    ]

    for answer in answers:
        check_problem(answer, 403, "forbidden")
    assert 1 == len({answer.body for answer in answers})
    assert 200 == server.post(f"{ROOM}/participants/builder/join", beat, token=builder).status


def test_attempt_token_ends_with_attempt(server: InProcessServer) -> None:
    server.join()
    server.send_message()
    task = server.claim().json
    body = {"connection_id": "A", "attempt": 1}
    path = f"/api/v1/tasks/{task['id']}"
    first = server.post(f"{path}/complete", body, token=task["token"])
    assert 200 == first.status

    assert first.body == server.post(f"{path}/complete", body, token=task["token"]).body
    check_problem(server.post(f"{path}/progress", {**body, "text": "x"}, token=task["token"]), 403, "forbidden")
    check_problem(server.get(ROOM, token=task["token"]), 403, "forbidden")
    server.clock.advance(server.limits.attempt_token_grace_s + 1)
    check_problem(server.post(f"{path}/complete", body, token=task["token"]), 403, "forbidden")
