"""The fast path answers plain calls exactly as the routes do: each case goes to both, each on a server of its own."""

from typing import Any

import msgspec
import pytest

from greenroom.server.express import Express
from greenroom.server.routes import OPERATIONS
from tests.service.desk import Answer, Desk

ROOM = "/api/v1/rooms/r"
CLAIM = f"{ROOM}/tasks/claim"
SAY = f"{ROOM}/messages"
A = {"connection_id": "A"}
HELD = {**A, "attempt": 1}
SAID = {"sender": "user", "text": "do it"}
MACHINE = {"name": "m2", "harnesses": ["shell"]}

# Method, path, body, headers. `TASK` stands for the task that A holds.
CASES: tuple[tuple[str, str, Any, dict[str, Any]], ...] = (
    ("POST", "/api/v1/rooms", {"name": "new", "roles": ["a", "b"]}, {}),
    ("POST", "/api/v1/rooms", {"name": "r", "roles": ["a"]}, {}),
    ("POST", "/api/v1/rooms", {"name": "new", "roles": ["a"]}, {"idempotency-key": "k1"}),
    ("POST", "/api/v1/rooms", {"name": "new", "roles": ["a"]}, {"idempotency-key": "not one key"}),
    ("POST", SAY, SAID, {}),
    ("POST", SAY, SAID, {"idempotency-key": "k1"}),
    ("POST", SAY, {**SAID, "to": "nobody"}, {}),
    ("POST", SAY, {**SAID, "unheard": "of"}, {}),
    ("POST", SAY, {}, {}),
    ("POST", SAY, None, {}),
    ("POST", SAY, b"", {}),
    ("POST", SAY, b"{", {}),
    ("POST", SAY, b"[]", {}),
    ("POST", SAY, b'{"sender":"\xff"}', {}),
    ("POST", SAY, b'{"sender":' + b"[" * 100_000, {}),
    ("POST", SAY, SAID, {"content-type": "text/plain"}),
    ("POST", SAY, SAID, {"content-type": "application/json; charset=utf-8"}),
    ("POST", SAY, SAID, {"content-type": None}),
    ("POST", SAY, SAID, {"authorization": None}),
    ("POST", SAY, SAID, {"authorization": "Bearer wrong"}),
    ("POST", SAY, SAID, {"host": "evil.example"}),
    ("POST", SAY, SAID, {"host": None}),
    ("POST", SAY, SAID, {"origin": "http://127.0.0.1:6464"}),
    ("POST", SAY, SAID, {"origin": "http://evil.example"}),
    ("POST", SAY, SAID, {"expect": "100-continue"}),
    ("POST", f"{SAY}?x=1", SAID, {}),
    ("POST", f"{SAY}/", SAID, {}),
    ("POST", "/api/v1/rooms//messages", SAID, {}),
    ("POST", "/api/v1/rooms/nowhere/messages", SAID, {}),
    ("POST", "/api/v1/elsewhere", SAID, {}),
    ("PUT", SAY, SAID, {}),
    ("DELETE", SAY, SAID, {}),
    ("POST", f"{ROOM}/participants/builder/join", A, {}),
    ("POST", f"{ROOM}/participants/builder/join", {"connection_id": "B"}, {}),
    ("POST", f"{ROOM}/participants/builder/heartbeat", A, {}),
    ("POST", f"{ROOM}/participants/builder/leave", A, {}),
    ("POST", CLAIM, {**A, "role": "builder"}, {}),
    ("POST", CLAIM, {"connection_id": "R", "role": "reviewer"}, {}),
    ("POST", CLAIM, {"connection_id": "R", "role": "reviewer", "wait_s": 60}, {}),
    ("POST", CLAIM, {"connection_id": "unheard-of", "role": "builder"}, {}),
    ("POST", "/api/v1/tasks/TASK/start", HELD, {}),
    ("POST", "/api/v1/tasks/TASK/progress", {**HELD, "text": "half"}, {}),
    ("POST", "/api/v1/tasks/TASK/complete", {**HELD, "text": "done"}, {}),
    ("POST", "/api/v1/tasks/TASK/complete", {**HELD, "text": "done"}, {"idempotency-key": "k1"}),
    ("POST", "/api/v1/tasks/TASK/complete", {**HELD, "attempt": 7, "text": "done"}, {}),
    ("POST", "/api/v1/tasks/TASK/handoff", {**HELD, "to": "reviewer", "text": "look"}, {}),
    ("POST", "/api/v1/tasks/TASK/decline", {**HELD, "reason": "cannot"}, {}),
    ("POST", "/api/v1/tasks/task_none/complete", {**HELD, "text": "done"}, {}),
    ("POST", "/api/v1/machines/m1/heartbeat", {"incarnation": "i1"}, {}),
    ("PUT", "/api/v1/machines/m2", MACHINE, {}),
    ("PUT", f"{ROOM}/roles/builder/agent", {"kind": "custom"}, {}),
)


def prepared() -> tuple[Desk, str]:
    """A server where A holds a task as builder, R waits as reviewer and m1 is registered; and the id of that task."""
    desk = Desk()
    desk.room()
    desk.join(connection="A")
    desk.join("reviewer", "R")
    desk.say()
    task: str = desk.claim().json["id"]
    desk.put("/api/v1/machines/m1", {"name": "m1", "harnesses": ["shell"]})
    return desk, task


def ask(case: tuple[str, str, Any, dict[str, Any]], is_quick: bool) -> tuple[Answer, Any, Any]:
    """Send a case to a server of its own; return the response, and the room and the events afterwards."""
    method, path, body, headers = case
    desk, task = prepared()
    with desk:
        path = path.replace("TASK", task)
        answer = desk.call(method, path, body, headers=headers, application=None if is_quick else desk.reference)
        return answer, desk.look(), desk.get("/api/v1/events?limit=1000").json


def told(body: bytes) -> Any:
    """A body without the field that is random."""
    document = msgspec.json.decode(body) if body else None
    if isinstance(document, dict):
        document.pop("next_in_s", None)
    return document


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} {case[1]}")
def test_the_quick_way_and_the_route_agree(case: tuple[str, str, Any, dict[str, Any]]) -> None:
    one, room, events = ask(case, is_quick=True)
    other, its_room, its_events = ask(case, is_quick=False)

    assert other.status == one.status
    assert told(other.body) == told(one.body)
    assert other.headers.keys() == one.headers.keys()
    for name in ("content-type", "www-authenticate", "allow", "retry-after"):
        assert other.headers.get(name) == one.headers.get(name)
    assert one.headers.get("content-length", "0") == str(len(one.body))
    assert its_room == room
    assert its_events == events


async def nowhere(*_: object) -> None:
    raise AssertionError("this call was passed on")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (SAY, SAID, 201),
        (CLAIM, {**A, "role": "builder"}, 200),
        (CLAIM, {"connection_id": "R", "role": "reviewer"}, 204),
        ("/api/v1/tasks/TASK/complete", {**HELD, "text": "done"}, 200),
        ("/api/v1/tasks/TASK/complete", {**HELD, "attempt": 7, "text": "done"}, 409),
    ],
)
def test_a_plain_call_goes_no_further(path: str, body: Any, status: int) -> None:
    desk, task = prepared()
    with desk:
        express = Express(nowhere, desk.doors, desk.hosts, OPERATIONS)

        assert status == desk.post(path.replace("TASK", task), body, application=express).status


def test_a_call_in_pieces_is_put_together() -> None:
    desk, _ = prepared()
    with desk:
        chunks = [b'{"sender":"user",', b'"text":"do it"}']

        answer = desk.post(SAY, chunks=chunks, headers={"content-type": "application/json", "content-length": None})

        assert 201 == answer.status
