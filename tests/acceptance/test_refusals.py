"""Invalid input and invalid tokens at a real server: a problem with guidance, never a 500, and nothing is stored."""

from __future__ import annotations

import http.client
from typing import Any

import pytest

from tests.acceptance.api import Answer, Api
from tests.acceptance.house import ROOM, House
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.process

LONG = "x" * (1024 * 1024 + 1)
HERE = f"/api/v1/rooms/{ROOM}"
JOIN = f"{HERE}/participants/builder/join"
BAD: tuple[tuple[str, str, Any, tuple[int, ...]], ...] = (
    ("POST", f"{HERE}/participants/missing/join", {"connection_id": "A"}, (404,)),
    ("POST", f"{HERE}/participants/missing/heartbeat", {"connection_id": "A"}, (404,)),
    ("POST", "/api/v1/rooms/nowhere/messages", {"sender": "user", "text": "hi"}, (404,)),
    ("GET", "/api/v1/rooms/nowhere", None, (404,)),
    ("GET", "/api/v1/tasks/nothing", None, (404,)),
    ("POST", f"{HERE}/participants/bui%0Alder/join", {"connection_id": "A"}, (404,)),
    ("POST", "/api/v1/rooms", {"name": "s", "roles": ["bui\nlder"]}, (400,)),
    ("POST", "/api/v1/rooms", {"name": "s\n", "roles": ["builder"]}, (400,)),
    ("POST", "/api/v1/rooms", {"name": "s", "roles": ["a", "a"]}, (400,)),
    ("POST", "/api/v1/rooms", {"name": "s", "roles": ["user"]}, (400,)),
    ("POST", "/api/v1/rooms", {"name": "s", "roles": ["a"], "entry_role": "b"}, (400, 404)),
    ("POST", "/api/v1/rooms", {"name": ROOM, "roles": ["a"]}, (409,)),
    ("POST", f"{HERE}/messages", {"sender": "user", "text": LONG}, (400, 413)),
    ("POST", f"{HERE}/messages", {"sender": "user", "text": "x" * (8 * 1024 * 1024)}, (413,)),
    ("POST", f"{HERE}/messages", {"sender": "user", "text": "a\0b"}, (400,)),
    ("POST", f"{HERE}/messages", {"sender": "user", "text": "hi", "to": "missing"}, (400, 404)),
    ("POST", f"{HERE}/messages", {"sender": "user"}, (400,)),
    ("POST", f"{HERE}/messages", {"sender": "user", "text": "hi", "colour": "red"}, (400,)),
    ("POST", f"{HERE}/messages", {"sender": "user", "text": 5}, (400,)),
    ("POST", f"{HERE}/messages", {"sender": "builder", "text": "I am not there"}, (400, 403, 409)),
    ("POST", f"{HERE}/messages", b"not json", (400,)),
    ("POST", f"{HERE}/messages", b"", (400,)),
    ("POST", f"{HERE}/messages", b"[" * 100_000, (400,)),
    ("POST", f"{HERE}/tasks/claim", {"role": "builder", "connection_id": "A", "wait_s": -1}, (400,)),
    ("POST", f"{HERE}/tasks/claim", {"role": "builder", "connection_id": "A"}, (409,)),
    ("POST", JOIN, {"connection_id": "a b"}, (400,)),
    ("POST", JOIN, {}, (400,)),
    ("GET", f"{HERE}/events?after=-1", None, (400,)),
    ("GET", f"{HERE}/events?limit=1001", None, (400,)),
    ("GET", f"{HERE}/events?colour=red", None, (400,)),
    ("PUT", f"{HERE}/roles/builder/agent", {"kind": "robot"}, (400,)),
    ("PUT", f"{HERE}/roles/builder/agent", {"kind": "remote", "machine": "nowhere"}, (404,)),
    ("DELETE", f"{HERE}/messages", None, (405,)),
    ("GET", "/nothing", None, (404,)),
)


def is_problem(answer: Answer, *statuses: int) -> bool:
    assert answer.content_type.startswith("application/problem+json"), answer
    assert answer.status in statuses, answer
    assert all(answer.body[name] for name in ("code", "detail", "guidance")), answer
    return True


def test_bad_input_is_refused_with_guidance(house: House) -> None:
    before = house.api.events()
    for method, path, body, statuses in BAD:
        raw = body if isinstance(body, bytes) else None
        assert is_problem(house.api.call(method, path, None if raw is not None else body, raw), *statuses), path
    assert is_problem(house.api.call("POST", JOIN, raw=b"{}", Content_Type="text/plain"), 415)
    assert before == house.api.events()
    assert [] == house.api.get(f"rooms/{ROOM}/messages")


def test_a_closed_room_takes_nothing(house: House) -> None:
    house.run("room", "close", ROOM)
    before = house.api.events()
    for path, body in ((f"{HERE}/messages", {"sender": "user", "text": "hi"}), (JOIN, {"connection_id": "A"})):
        assert is_problem(house.api.call("POST", path, body), 409)
    house.run("send", ROOM, "hi", expect=4)
    house.run("wait-for-task", ROOM, "--role", "builder", expect=4)
    assert before == house.api.events()


def test_what_is_no_http_does_not_hurt(house: House) -> None:
    connection = http.client.HTTPConnection(house.api.address, timeout=PATIENCE_S)
    connection.connect()
    assert connection.sock is not None
    connection.sock.sendall(b"\x16\x03\x01\x00\xff nonsense\r\n\r\n")
    connection.sock.recv(1000)
    connection.close()
    assert 200 == house.api.call("GET", "/healthz").status


def test_a_foreign_name_is_refused(house: House) -> None:
    for host in ("evil.example", f"evil.example:{house.port}"):
        assert is_problem(house.api.call("GET", "/api/v1/rooms", Host=host), 403)
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        assert is_problem(house.api.call("GET", "/api/v1/rooms", Origin=origin), 403)
    assert 200 == house.api.call("GET", "/api/v1/rooms", Host="localhost:7000", Origin="http://localhost:7000").status


def test_tokens(house: House) -> None:
    house.run("room", "create", "other", "--roles", "builder")
    token = house.run("agent", "token", f"{ROOM}/builder").out.strip()
    agent = Api(house.url, token)
    for nobody in (Api(house.url, None), Api(house.url, "wrong"), Api(house.url, token + "x")):
        for path in ("/api/v1/rooms", HERE, "/api/v1/rooms/nowhere", "/metrics"):
            assert is_problem(nobody.call("GET", path), 401)
    assert 200 == agent.call("POST", JOIN, {"connection_id": "A"}).status
    not_yours = [
        agent.call("POST", f"{HERE}/participants/reviewer/join", {"connection_id": "A"}),
        agent.call("POST", "/api/v1/rooms/other/participants/builder/join", {"connection_id": "A"}),
        agent.call("POST", "/api/v1/rooms/nowhere/participants/builder/join", {"connection_id": "A"}),
        agent.call("GET", "/api/v1/rooms/other"),
        agent.call("GET", "/api/v1/rooms/nowhere"),
        agent.call("GET", "/api/v1/tasks/task_nothing"),
        agent.call("POST", f"{HERE}/roles/builder/token"),
        agent.call("PUT", f"{HERE}/roles/builder/agent", {"kind": "custom", "desired": "stopped"}),
        agent.call("POST", f"{HERE}/messages", {"sender": "user", "text": "I am the user"}),
        agent.call("GET", "/api/v1/events"),
    ]
    assert {403} == {answer.status for answer in not_yours}
    assert 1 == len({str(answer.body) for answer in not_yours}), (
        "objects that do not exist and objects of others are answered alike"
    )
    assert [] == house.api.get("rooms/other")["participants"]


def test_the_token_of_a_finished_attempt(house: House) -> None:
    agent = Api(house.url, house.run("agent", "token", f"{ROOM}/builder").out.strip())
    agent.post(f"rooms/{ROOM}/participants/builder/join", connection_id="A")
    task = house.send("paint")
    claimed = agent.post(f"rooms/{ROOM}/tasks/claim", role="builder", connection_id="A")
    attempt = Api(house.url, claimed["token"])
    mine = {"connection_id": "A", "attempt": 1}
    attempt.post(f"tasks/{task}/start", **mine)
    attempt.post(f"tasks/{task}/handoff", **mine, to="user", text="done")
    again = attempt.call("POST", f"/api/v1/tasks/{task}/handoff", mine | {"to": "user", "text": "done"})
    assert (200, "completed") == (again.status, again.body["status"])
    assert ["done"] == house.heard_by_user()
    late = attempt.call("POST", f"/api/v1/tasks/{task}/handoff", mine | {"to": "user", "text": "done better"})
    assert late.status in (200, 409), late
    assert ["done"] == house.heard_by_user()
    for method, path, body in (
        ("POST", f"/api/v1/tasks/{task}/progress", mine | {"text": "more"}),
        ("POST", f"{HERE}/tasks/claim", {"role": "builder", "connection_id": "A"}),
        ("POST", JOIN, {"connection_id": "B"}),
        ("GET", HERE, None),
        ("GET", f"{HERE}/messages", None),
    ):
        assert is_problem(attempt.call(method, path, body), 401, 403), path
