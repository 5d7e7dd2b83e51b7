"""The fast path answers plain calls exactly as the routes do: each case goes to both, each on a server of its own."""

from typing import Any

import msgspec
import pytest

from greenroom.server.express import CallFastPath
from greenroom.server.routes import OPERATIONS
from tests.service.in_process_server import AsgiResponse, InProcessServer

ROOM = "/api/v1/rooms/r"
CLAIM = f"{ROOM}/tasks/claim"
MESSAGES = f"{ROOM}/messages"
CONNECTION_A = {"connection_id": "A"}
ON_ATTEMPT = {**CONNECTION_A, "attempt": 1}
MESSAGE = {"sender": "user", "text": "do it"}
MACHINE = {"name": "m2", "harnesses": ["shell"]}

# Method, path, body, headers. `TASK` stands for the task that A holds.
CASES: tuple[tuple[str, str, Any, dict[str, Any]], ...] = (
    ("POST", "/api/v1/rooms", {"name": "new", "roles": ["a", "b"]}, {}),
    ("POST", "/api/v1/rooms", {"name": "r", "roles": ["a"]}, {}),
    ("POST", "/api/v1/rooms", {"name": "new", "roles": ["a"]}, {"idempotency-key": "k1"}),
    ("POST", "/api/v1/rooms", {"name": "new", "roles": ["a"]}, {"idempotency-key": "not one key"}),
    ("POST", MESSAGES, MESSAGE, {}),
    ("POST", MESSAGES, MESSAGE, {"idempotency-key": "k1"}),
    ("POST", MESSAGES, {**MESSAGE, "to": "unknown"}, {}),
    ("POST", MESSAGES, {**MESSAGE, "unheard": "of"}, {}),
    ("POST", MESSAGES, {}, {}),
    ("POST", MESSAGES, None, {}),
    ("POST", MESSAGES, b"", {}),
    ("POST", MESSAGES, b"{", {}),
    ("POST", MESSAGES, b"[]", {}),
    ("POST", MESSAGES, b'{"sender":"\xff"}', {}),
    ("POST", MESSAGES, b'{"sender":' + b"[" * 100_000, {}),
    ("POST", MESSAGES, MESSAGE, {"content-type": "text/plain"}),
    ("POST", MESSAGES, MESSAGE, {"content-type": "application/json; charset=utf-8"}),
    ("POST", MESSAGES, MESSAGE, {"content-type": None}),
    ("POST", MESSAGES, MESSAGE, {"authorization": None}),
    ("POST", MESSAGES, MESSAGE, {"authorization": "Bearer wrong"}),
    ("POST", MESSAGES, MESSAGE, {"host": "evil.example"}),
    ("POST", MESSAGES, MESSAGE, {"host": None}),
    ("POST", MESSAGES, MESSAGE, {"origin": "http://127.0.0.1:6464"}),
    ("POST", MESSAGES, MESSAGE, {"origin": "http://evil.example"}),
    ("POST", MESSAGES, MESSAGE, {"expect": "100-continue"}),
    ("POST", f"{MESSAGES}?x=1", MESSAGE, {}),
    ("POST", f"{MESSAGES}/", MESSAGE, {}),
    ("POST", "/api/v1/rooms//messages", MESSAGE, {}),
    ("POST", "/api/v1/rooms/nowhere/messages", MESSAGE, {}),
    ("POST", "/api/v1/elsewhere", MESSAGE, {}),
    ("PUT", MESSAGES, MESSAGE, {}),
    ("DELETE", MESSAGES, MESSAGE, {}),
    ("POST", f"{ROOM}/participants/builder/join", CONNECTION_A, {}),
    ("POST", f"{ROOM}/participants/builder/join", {"connection_id": "B"}, {}),
    ("POST", f"{ROOM}/participants/builder/heartbeat", CONNECTION_A, {}),
    ("POST", f"{ROOM}/participants/builder/leave", CONNECTION_A, {}),
    ("POST", CLAIM, {**CONNECTION_A, "role": "builder"}, {}),
    ("POST", CLAIM, {"connection_id": "R", "role": "reviewer"}, {}),
    ("POST", CLAIM, {"connection_id": "R", "role": "reviewer", "wait_s": 60}, {}),
    ("POST", CLAIM, {"connection_id": "unheard-of", "role": "builder"}, {}),
    ("POST", "/api/v1/tasks/TASK/start", ON_ATTEMPT, {}),
    ("POST", "/api/v1/tasks/TASK/progress", {**ON_ATTEMPT, "text": "half"}, {}),
    ("POST", "/api/v1/tasks/TASK/complete", {**ON_ATTEMPT, "text": "done"}, {}),
    ("POST", "/api/v1/tasks/TASK/complete", {**ON_ATTEMPT, "text": "done"}, {"idempotency-key": "k1"}),
    ("POST", "/api/v1/tasks/TASK/complete", {**ON_ATTEMPT, "attempt": 7, "text": "done"}, {}),
    ("POST", "/api/v1/tasks/TASK/handoff", {**ON_ATTEMPT, "to": "reviewer", "text": "look"}, {}),
    ("POST", "/api/v1/tasks/TASK/decline", {**ON_ATTEMPT, "reason": "cannot"}, {}),
    ("POST", "/api/v1/tasks/task_none/complete", {**ON_ATTEMPT, "text": "done"}, {}),
    ("POST", "/api/v1/machines/m1/heartbeat", {"incarnation": "i1"}, {}),
    ("PUT", "/api/v1/machines/m2", MACHINE, {}),
    ("PUT", f"{ROOM}/roles/builder/agent", {"kind": "custom"}, {}),
)


def make_server_with_task() -> tuple[InProcessServer, str]:
    """A server where A holds a task as builder, R waits as reviewer and m1 is registered; and the id of that task."""
    server = InProcessServer()
    server.create_room()
    server.join(connection="A")
    server.join("reviewer", "R")
    server.send_message()
    task: str = server.claim().json["id"]
    server.put("/api/v1/machines/m1", {"name": "m1", "harnesses": ["shell"]})
    return server, task


def send_case(case: tuple[str, str, Any, dict[str, Any]], use_fast_path: bool) -> tuple[AsgiResponse, Any, Any]:
    """Send a case to a server of its own; return the response, and the room and the events afterwards."""
    method, path, body, headers = case
    server, task = make_server_with_task()
    with server:
        path = path.replace("TASK", task)
        answer = server.call(
            method, path, body, headers=headers, application=None if use_fast_path else server.reference
        )
        return answer, server.show_room(), server.get("/api/v1/events?limit=1000").json


def stable_body(body: bytes) -> Any:
    """A body without the field that is random."""
    document = msgspec.json.decode(body) if body else None
    if isinstance(document, dict):
        document.pop("next_in_s", None)
    return document


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} {case[1]}")
def test_fast_path_equals_route(case: tuple[str, str, Any, dict[str, Any]]) -> None:
    fast, room, events = send_case(case, use_fast_path=True)
    routed, routed_room, routed_events = send_case(case, use_fast_path=False)

    assert routed.status == fast.status
    assert stable_body(routed.body) == stable_body(fast.body)
    assert routed.headers.keys() == fast.headers.keys()
    for name in ("content-type", "www-authenticate", "allow", "retry-after"):
        assert routed.headers.get(name) == fast.headers.get(name)
    assert fast.headers.get("content-length", "0") == str(len(fast.body))
    assert routed_room == room
    assert routed_events == events


async def fail_if_passed_on(*_: object) -> None:
    raise AssertionError("this call was passed on")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (MESSAGES, MESSAGE, 201),
        (CLAIM, {**CONNECTION_A, "role": "builder"}, 200),
        (CLAIM, {"connection_id": "R", "role": "reviewer"}, 204),
        ("/api/v1/tasks/TASK/complete", {**ON_ATTEMPT, "text": "done"}, 200),
        ("/api/v1/tasks/TASK/complete", {**ON_ATTEMPT, "attempt": 7, "text": "done"}, 409),
    ],
)
def test_plain_call_stays_on_fast_path(path: str, body: Any, status: int) -> None:
    server, task = make_server_with_task()
    with server:
        express = CallFastPath(fail_if_passed_on, server.context, server.hosts, OPERATIONS)

        assert status == server.post(path.replace("TASK", task), body, application=express).status


def test_chunked_body() -> None:
    server, _ = make_server_with_task()
    with server:
        chunks = [b'{"sender":"user",', b'"text":"do it"}']

        answer = server.post(
            MESSAGES, chunks=chunks, headers={"content-type": "application/json", "content-length": None}
        )

        assert 201 == answer.status
