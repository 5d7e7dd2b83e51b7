"""What the commands about tasks request from the server, and how alerts are shown."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from greenroom.cli import connection, exits, main
from greenroom.cli.needs import need_of, needs
from greenroom.client import session
from greenroom.domain.attention import Attention
from greenroom.domain.task import LateResult, Note, Task
from greenroom.wire.replies import RoleView, RoomView
from tests.unit.scripted import ScriptedTransport, answer, task_of

AT = "2026-11-20T10:00:00.000Z"
EXPLAINED = {"reason": "so"}


class Asked(ScriptedTransport):
    """Answers with a task when its script is empty."""

    def request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float) -> Any:
        self.steps = self.steps or [answer(task_of())]
        return super().request(method, path, body, headers, timeout_s)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Asked:
    played = Asked()
    for module in (session, connection):
        monkeypatch.setattr(module, "HttpTransport", lambda *_: played)
    monkeypatch.setenv("HOME", str(tmp_path))
    return played


@pytest.mark.parametrize(
    ("typed", "route", "body"),
    [
        ("note task_1 blue", "tasks/task_1/note", {"text": "blue"}),
        ("task accept task_1", "tasks/task_1/accept", {"attempt": None, "reason": None}),
        ("task accept task_1 --attempt 2 --reason so", "tasks/task_1/accept", {"attempt": 2} | EXPLAINED),
        ("task retry task_1 --to b --reason so", "tasks/task_1/retry", {"to": "b"} | EXPLAINED),
        ("task retry task_1", "tasks/task_1/retry", {"to": None, "reason": None}),
        ("backlog add shop paint --to b", "rooms/shop/backlog", {"text": "paint", "to": "b"}),
        ("backlog queue task_1 --reason so", "tasks/task_1/queue", EXPLAINED),
        ("backlog accept task_1 --reason so", "tasks/task_1/accept", {"attempt": None} | EXPLAINED),
        ("backlog send-back task_1 --reason so", "tasks/task_1/send-back", {"to": None} | EXPLAINED),
        ("backlog send-back task_1 --to backlog", "tasks/task_1/send-back", {"to": "backlog", "reason": None}),
    ],
)
def test_each_verb_reaches_its_route(server: Asked, typed: str, route: str, body: dict[str, Any]) -> None:
    assert exits.DONE == main.main(typed.split())
    [(method, path, sent, headers, _)] = server.asked
    assert ("POST", f"/api/v1/{route}", body) == (method, path, sent)
    assert headers["Idempotency-Key"]


def test_a_room_is_changed_by_what_is_named(server: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    server.steps = [answer(room_of())]
    assert exits.DONE == main.main(["room", "change", "shop", "--roles", "b, a", "--max-requests", "2"])
    [(method, path, sent, *_)] = server.asked
    assert ("PATCH", "/api/v1/rooms/shop") == (method, path)
    assert {"name": None, "roles": ["b", "a"], "entry_role": None, "max_requests": 2, "reason": None} == sent
    assert exits.USAGE == main.main(["room", "change", "shop"])
    assert "--entry-role" in capsys.readouterr().err


def test_a_task_is_shown_with_its_notes_and_what_can_be_done(server: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    notes = (Note(attempt=1, by="operator", text="bl\x1bue", at=AT),)
    late = (LateResult(attempt=1, connection_id="c", to="user", text="half", at=AT),)
    server.steps = [answer(task_of(status="quarantined", attempt=2, notes=notes, late_results=late))]
    assert exits.DONE == main.main(["task", "show", "task_1"])
    shown = capsys.readouterr().out
    assert f"note by operator, at {AT}, during attempt 1:\nbl\\x1bue\n" in shown
    assert "greenroom task retry task_1" in shown
    assert "greenroom task accept task_1 --attempt 1" in shown


def test_the_backlog_is_what_waits_for_a_person(server: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    done, later = task_of(status="pending_review"), task_of(id="task_2", status="backlog")
    server.steps = [answer([done]), answer([]), answer([later]), answer([])]
    assert exits.DONE == main.main(["backlog", "list", "shop", "--json"])
    assert ["task_1", "task_2"] == [task["id"] for task in json.loads(capsys.readouterr().out)]
    assert ["status=pending_review", "status=backlog"] == [
        path.partition("?")[2].partition("&")[0] for _, path, *_ in server.asked if "after" not in path
    ]


def role_of(name: str, status: str) -> RoleView:
    plain = dict.fromkeys(("status_reason", "status_until", "machine", "harness", "model", "workdir"))
    plain |= dict.fromkeys(("desired_by", "desired_reason", "last_seen_at"))
    return RoleView(name=name, kind="custom", desired="running", status=status, generation=0, **plain)


def room_of(*tasks: Task, **roles: str) -> RoomView:
    return RoomView(
        id="room_1",
        name="shop",
        status="open",
        entry_role="builder",
        max_requests=1,
        roles=tuple(role_of(name, status) for name, status in roles.items()),
        participants=(),
        tasks=tasks,
        cursor=1,
        created_at=AT,
    )


def raised(key: str, room: str | None = "room_1") -> Attention:
    return Attention(key=key, room=room, text="look at it", raised_at=AT)


def test_what_needs_a_person_is_told_once_with_the_command_that_helps() -> None:
    late = task_of(attempt=2, late_results=(LateResult(attempt=1, connection_id="c", to="user", text="x", at=AT),))
    tasks = (
        late,
        task_of(id="task_2", status="quarantined", deaths=3),
        task_of(id="task_3", status="pending_review"),
        task_of(id="task_4", status="pending", target_role="reviewer"),
    )
    room = room_of(*tasks, builder="working", reviewer="vacant", painter="parked")
    keys = ("mass_silence", "quarantined:task_2", "review:task_3", "unattended:room_1/reviewer")
    found = list(needs((), tuple(map(raised, (*keys, "unattended:room_1/painter"))), (room,), (), (late,)))
    assert [
        ("mass_silence", "shop", "greenroom doctor"),
        ("unattended:room_1/painter", "shop/painter", "greenroom why shop/painter"),
        ("quarantined", "shop/builder", "greenroom task show task_2"),
        ("vacant", "shop/reviewer", "greenroom wait-for-task shop --role reviewer"),
        ("pending_review", "shop/builder", "greenroom task show task_3"),
        ("late_result", "shop/builder", "greenroom task show task_1"),
    ] == [(need.kind, need.where, need.next) for need in found]
    assert "task_1: 1 late result" == found[-1].detail


def test_what_is_raised_about_what_is_not_shown_is_told_all_the_same() -> None:
    need = need_of(raised("quarantined:task_9", None), ())
    assert ("server", "greenroom task show task_9") == (need.where, need.next)
