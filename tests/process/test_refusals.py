"""Invalid input and invalid tokens at a real server: a problem with guidance, never a 500, and nothing is stored."""

from __future__ import annotations

import http.client
from typing import Any

import pytest

from tests.process.api import Api, ApiAnswer
from tests.process.installation import ROOM, Installation
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.process

LONG = "x" * (1024 * 1024 + 1)
ROOM_PATH = f"/api/v1/rooms/{ROOM}"
JOIN = f"{ROOM_PATH}/participants/builder/join"
INVALID_REQUESTS: tuple[tuple[str, str, Any, tuple[int, ...]], ...] = (
    ("POST", f"{ROOM_PATH}/participants/missing/join", {"connection_id": "A"}, (404,)),
    ("POST", f"{ROOM_PATH}/participants/missing/heartbeat", {"connection_id": "A"}, (404,)),
    ("POST", "/api/v1/rooms/nowhere/messages", {"sender": "user", "text": "hi"}, (404,)),
    ("GET", "/api/v1/rooms/nowhere", None, (404,)),
    ("GET", "/api/v1/tasks/nothing", None, (404,)),
    ("POST", f"{ROOM_PATH}/participants/bui%0Alder/join", {"connection_id": "A"}, (404,)),
    ("POST", "/api/v1/rooms", {"name": "s", "roles": ["bui\nlder"]}, (400,)),
    ("POST", "/api/v1/rooms", {"name": "s\n", "roles": ["builder"]}, (400,)),
    ("POST", "/api/v1/rooms", {"name": "s", "roles": ["a", "a"]}, (400,)),
    ("POST", "/api/v1/rooms", {"name": "s", "roles": ["user"]}, (400,)),
    ("POST", "/api/v1/rooms", {"name": "s", "roles": ["a"], "entry_role": "b"}, (400, 404)),
    ("POST", "/api/v1/rooms", {"name": ROOM, "roles": ["a"]}, (409,)),
    ("POST", f"{ROOM_PATH}/messages", {"sender": "user", "text": LONG}, (400, 413)),
    ("POST", f"{ROOM_PATH}/messages", {"sender": "user", "text": "x" * (8 * 1024 * 1024)}, (413,)),
    ("POST", f"{ROOM_PATH}/messages", {"sender": "user", "text": "a\0b"}, (400,)),
    ("POST", f"{ROOM_PATH}/messages", {"sender": "user", "text": "hi", "to": "missing"}, (400, 404)),
    ("POST", f"{ROOM_PATH}/messages", {"sender": "user"}, (400,)),
    ("POST", f"{ROOM_PATH}/messages", {"sender": "user", "text": "hi", "colour": "red"}, (400,)),
    ("POST", f"{ROOM_PATH}/messages", {"sender": "user", "text": 5}, (400,)),
    ("POST", f"{ROOM_PATH}/messages", {"sender": "builder", "text": "I am not there"}, (400, 403, 409)),
    ("POST", f"{ROOM_PATH}/messages", b"not json", (400,)),
    ("POST", f"{ROOM_PATH}/messages", b"", (400,)),
    ("POST", f"{ROOM_PATH}/messages", b"[" * 100_000, (400,)),
    ("POST", f"{ROOM_PATH}/tasks/claim", {"role": "builder", "connection_id": "A", "wait_s": -1}, (400,)),
    ("POST", f"{ROOM_PATH}/tasks/claim", {"role": "builder", "connection_id": "A"}, (409,)),
    ("POST", JOIN, {"connection_id": "a b"}, (400,)),
    ("POST", JOIN, {}, (400,)),
    ("GET", f"{ROOM_PATH}/events?after=1", None, (400,)),
    ("GET", f"{ROOM_PATH}/events?limit=1001", None, (400,)),
    ("GET", f"{ROOM_PATH}/events?colour=red", None, (400,)),
    ("PUT", f"{ROOM_PATH}/roles/builder/agent", {"kind": "robot"}, (400,)),
    ("PUT", f"{ROOM_PATH}/roles/builder/agent", {"kind": "remote", "machine": "nowhere"}, (404,)),
    ("DELETE", f"{ROOM_PATH}/messages", None, (405,)),
    ("GET", "/nothing", None, (404,)),
)


def is_problem(answer: ApiAnswer, *statuses: int) -> bool:
    assert answer.content_type.startswith("application/problem+json"), answer
    assert answer.status in statuses, answer
    assert all(answer.body[name] for name in ("code", "detail", "guidance")), answer
    return True


def test_invalid_requests_get_problem_with_guidance(installation: Installation) -> None:
    before = installation.api.events()
    for method, path, body, statuses in INVALID_REQUESTS:
        raw = body if isinstance(body, bytes) else None
        assert is_problem(installation.api.call(method, path, None if raw is not None else body, raw), *statuses), path
    assert is_problem(installation.api.call("POST", JOIN, raw=b"{}", Content_Type="text/plain"), 415)
    assert before == installation.api.events()
    assert [] == installation.api.get(f"rooms/{ROOM}/messages")


def test_closed_room_refuses_writes(installation: Installation) -> None:
    installation.run("room", "close", ROOM)
    before = installation.api.events()
    for path, body in ((f"{ROOM_PATH}/messages", {"sender": "user", "text": "hi"}), (JOIN, {"connection_id": "A"})):
        assert is_problem(installation.api.call("POST", path, body), 409)
    installation.run("send", ROOM, "hi", expect=4)
    installation.run("wait-for-task", ROOM, "--role", "builder", expect=4)
    assert before == installation.api.events()


def test_non_http_bytes(installation: Installation) -> None:
    connection = http.client.HTTPConnection(installation.api.address, timeout=PATIENCE_S)
    connection.connect()
    assert connection.sock is not None
    connection.sock.sendall(b"\x16\x03\x01\x00\xff nonsense\r\n\r\n")
    connection.sock.recv(1000)
    connection.close()
    assert 200 == installation.api.call("GET", "/healthz").status


def test_foreign_host_and_origin_are_refused(installation: Installation) -> None:
    for host in ("evil.example", f"evil.example:{installation.port}"):
        assert is_problem(installation.api.call("GET", "/api/v1/rooms", Host=host), 403)
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        assert is_problem(installation.api.call("GET", "/api/v1/rooms", Origin=origin), 403)
    assert (
        200
        == installation.api.call("GET", "/api/v1/rooms", Host="localhost:7000", Origin="http://localhost:7000").status
    )


def test_token_permissions(installation: Installation) -> None:
    installation.run("room", "create", "other", "--roles", "builder")
    token = installation.run("agent", "token", f"{ROOM}/builder").out.strip()
    agent = Api(installation.url, token)
    for unauthorized in (
        Api(installation.url, None),
        Api(installation.url, "wrong"),
        Api(installation.url, token + "x"),
    ):
        for path in ("/api/v1/rooms", ROOM_PATH, "/api/v1/rooms/nowhere", "/metrics"):
            assert is_problem(unauthorized.call("GET", path), 401)
    assert 200 == agent.call("POST", JOIN, {"connection_id": "A"}).status
    forbidden = [
        agent.call("POST", f"{ROOM_PATH}/participants/reviewer/join", {"connection_id": "A"}),
        agent.call("POST", "/api/v1/rooms/other/participants/builder/join", {"connection_id": "A"}),
        agent.call("POST", "/api/v1/rooms/nowhere/participants/builder/join", {"connection_id": "A"}),
        agent.call("GET", "/api/v1/rooms/other"),
        agent.call("GET", "/api/v1/rooms/nowhere"),
        agent.call("GET", "/api/v1/tasks/task_nothing"),
        agent.call("POST", f"{ROOM_PATH}/roles/builder/token"),
        agent.call("PUT", f"{ROOM_PATH}/roles/builder/agent", {"kind": "custom", "desired": "stopped"}),
        agent.call("POST", f"{ROOM_PATH}/messages", {"sender": "user", "text": "I am the user"}),
        agent.call("GET", "/api/v1/events"),
    ]
    assert {403} == {answer.status for answer in forbidden}
    assert 1 == len({str(answer.body) for answer in forbidden}), (
        "objects that do not exist and objects of others are answered alike"
    )
    assert [] == installation.api.get("rooms/other")["participants"]


def test_attempt_token_after_completion(installation: Installation) -> None:
    agent = Api(installation.url, installation.run("agent", "token", f"{ROOM}/builder").out.strip())
    agent.post(f"rooms/{ROOM}/participants/builder/join", connection_id="A")
    task = installation.send("paint")
    claimed = agent.post(f"rooms/{ROOM}/tasks/claim", role="builder", connection_id="A")
    attempt = Api(installation.url, claimed["token"])
    held = {"connection_id": "A", "attempt": 1}
    attempt.post(f"tasks/{task}/start", **held)
    attempt.post(f"tasks/{task}/handoff", **held, to="user", text="done")
    again = attempt.call("POST", f"/api/v1/tasks/{task}/handoff", held | {"to": "user", "text": "done"})
    assert (200, "completed") == (again.status, again.body["status"])
    assert ["done"] == installation.messages_to_user()
    late = attempt.call("POST", f"/api/v1/tasks/{task}/handoff", held | {"to": "user", "text": "done better"})
    assert late.status in (200, 409), late
    assert ["done"] == installation.messages_to_user()
    for method, path, body in (
        ("POST", f"/api/v1/tasks/{task}/progress", held | {"text": "more"}),
        ("POST", f"{ROOM_PATH}/tasks/claim", {"role": "builder", "connection_id": "A"}),
        ("POST", JOIN, {"connection_id": "B"}),
        ("GET", ROOM_PATH, None),
        ("GET", f"{ROOM_PATH}/messages", None),
    ):
        assert is_problem(attempt.call(method, path, body), 401, 403), path
