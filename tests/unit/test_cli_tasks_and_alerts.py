"""What the commands about tasks request from the server, and how alerts are shown."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from greenroom.cli import connection, main
from greenroom.cli.alerts import alerts_table
from greenroom.client import api_client
from greenroom.domain.task import LateResult, Note, Task
from greenroom.exit_codes import ExitCode
from greenroom.wire.replies import AlertView, RoleView, RoomView
from tests.unit.scripted_transport import ScriptedTransport, json_response, make_task

AT = "2026-11-20T10:00:00.000Z"
REASON = {"reason": "so"}


class DefaultTaskTransport(ScriptedTransport):
    """Answers with a task when its script is empty."""

    def request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float) -> Any:
        self.steps = self.steps or [json_response(make_task())]
        return super().request(method, path, body, headers, timeout_s)


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> DefaultTaskTransport:
    transport = DefaultTaskTransport()
    for module in (api_client, connection):
        monkeypatch.setattr(module, "HttpTransport", lambda *_: transport)
    monkeypatch.setenv("HOME", str(tmp_path))
    return transport


@pytest.mark.parametrize(
    ("typed", "route", "body"),
    [
        ("note task_1 blue", "tasks/task_1/note", {"text": "blue"}),
        ("task accept task_1", "tasks/task_1/accept", {"attempt": None, "reason": None}),
        ("task accept task_1 --attempt 2 --reason so", "tasks/task_1/accept", {"attempt": 2} | REASON),
        ("task retry task_1 --to b --reason so", "tasks/task_1/retry", {"to": "b"} | REASON),
        ("task retry task_1", "tasks/task_1/retry", {"to": None, "reason": None}),
        ("backlog add shop paint --to b", "rooms/shop/backlog", {"text": "paint", "to": "b"}),
        ("backlog queue task_1 --reason so", "tasks/task_1/queue", REASON),
        ("backlog accept task_1 --reason so", "tasks/task_1/accept", {"attempt": None} | REASON),
        ("backlog send-back task_1 --reason so", "tasks/task_1/send-back", {"to": None} | REASON),
        ("backlog send-back task_1 --to backlog", "tasks/task_1/send-back", {"to": "backlog", "reason": None}),
    ],
)
def test_commands_reach_their_routes(
    transport: DefaultTaskTransport, typed: str, route: str, body: dict[str, Any]
) -> None:
    assert ExitCode.DONE == main.main(typed.split())
    [(method, path, sent, headers, _)] = transport.requests
    assert ("POST", f"/api/v1/{route}", body) == (method, path, sent)
    assert headers["Idempotency-Key"]


def test_room_change_sends_named_fields(transport: DefaultTaskTransport, capsys: pytest.CaptureFixture[str]) -> None:
    transport.steps = [json_response(make_room_view())]
    assert ExitCode.DONE == main.main(["room", "change", "shop", "--roles", "b, a", "--max-requests", "2"])
    [(method, path, sent, *_)] = transport.requests
    assert ("PATCH", "/api/v1/rooms/shop") == (method, path)
    assert {"name": None, "roles": ["b", "a"], "entry_role": None, "max_requests": 2, "reason": None} == sent
    assert ExitCode.USAGE == main.main(["room", "change", "shop"])
    assert "--entry-role" in capsys.readouterr().err


def test_task_show_has_notes_and_actions(transport: DefaultTaskTransport, capsys: pytest.CaptureFixture[str]) -> None:
    notes = (Note(attempt=1, by="operator", text="bl\x1bue", at=AT),)
    late = (LateResult(attempt=1, connection_id="c", to="user", text="half", at=AT),)
    transport.steps = [json_response(make_task(status="quarantined", attempt=2, notes=notes, late_results=late))]
    assert ExitCode.DONE == main.main(["task", "show", "task_1"])
    shown = capsys.readouterr().out
    assert f"note by operator, at {AT}, during attempt 1:\nbl\\x1bue\n" in shown
    assert "greenroom task retry task_1" in shown
    assert "greenroom task accept task_1 --attempt 1" in shown


def test_backlog_list_statuses(transport: DefaultTaskTransport, capsys: pytest.CaptureFixture[str]) -> None:
    done, backlog = make_task(status="pending_review"), make_task(id="task_2", status="backlog")
    transport.steps = [json_response([done]), json_response([]), json_response([backlog]), json_response([])]
    assert ExitCode.DONE == main.main(["backlog", "list", "shop", "--json"])
    assert ["task_1", "task_2"] == [task["id"] for task in json.loads(capsys.readouterr().out)]
    assert ["status=pending_review", "status=backlog"] == [
        path.partition("?")[2].partition("&")[0] for _, path, *_ in transport.requests if "after" not in path
    ]


def make_role_view(name: str, status: str) -> RoleView:
    fields: dict[str, Any] = dict.fromkeys(("status_reason", "status_until", "machine", "harness", "model", "workdir"))
    fields |= dict.fromkeys(("desired_by", "desired_reason", "last_seen_at"))
    return RoleView(name=name, kind="custom", desired="running", status=status, generation=0, **fields)


def make_room_view(*tasks: Task, **roles: str) -> RoomView:
    return RoomView(
        id="room_1",
        name="shop",
        status="open",
        entry_role="builder",
        max_requests=1,
        roles=tuple(make_role_view(name, status) for name, status in roles.items()),
        participants=(),
        tasks=tasks,
        cursor="c1",
        created_at=AT,
    )


def make_alert(kind: str, subject: str, next: str, **fields: Any) -> AlertView:
    blank = {"room": None, "role": None, "request": None, "task": None, "text": "look at it", "actions": ()}
    values = {"subject": subject, "subjects": (subject,), "next": next, "raised_at": AT} | blank | fields
    return AlertView(id=f"{kind}:{subject}", kind=kind, **values)


def test_alerts_are_shown_as_the_server_says() -> None:
    alerts = (
        make_alert("crash_looping", "room_1/painter", "greenroom why shop/painter", room="shop", role="painter"),
        make_alert("mass_silence", "server", "greenroom doctor", text="3 of 4 agents\nstopped"),
        make_alert("review", "task_1", "greenroom task show task_1", room="shop"),
    )
    assert [
        ("shop/painter", "look at it", "greenroom why shop/painter"),
        ("server", "3 of 4 agents stopped", "greenroom doctor"),
        ("shop", "look at it", "greenroom task show task_1"),
    ] == list(alerts_table(alerts).rows)
