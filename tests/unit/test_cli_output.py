"""What the commands for users request from the server and what they print; the transport answers from a table."""

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom.cli import connection, main, status
from greenroom.cli.overview import Overview, ServerView
from greenroom.client import api_client
from greenroom.client.http_transport import Response
from greenroom.domain.errors import Unavailable
from greenroom.exit_codes import ExitCode
from greenroom.settings.resolve import resolve_settings
from greenroom.testing import MovedClock
from tests.unit.test_cli_tasks_and_alerts import make_alert

AT = "2026-11-20T10:00:00.000Z"
ROLE = {
    "name": "builder",
    "kind": "remote",
    "desired": "running",
    "status": "offline",
    "status_reason": "machine m1 is not connected",
    "status_until": None,
    "generation": 4,
    "machine": "m1",
    "harness": "careful",
    "model": "large",
    "workdir": "/srv/shop",
    "desired_by": "operator",
    "desired_reason": "because",
    "task_timeout_s": None,
    "run_generation": 4,
    "empty": "ok",
    "configured_at": None,
    "last_seen_at": AT,
}
REVIEWER = ROLE | {"name": "reviewer", "kind": "custom", "status": "vacant", "machine": None, "harness": None}
TASK = {
    "id": "task_1",
    "room": "room_1",
    "request": "task_1",
    "target_role": "reviewer",
    "status": "pending",
    "text": "look \x1b[2Jat it",
    "created_at": AT,
}
QUARANTINED = TASK | {"id": "task_2", "target_role": "builder", "status": "quarantined", "failures": 3}
ROOM = {
    "id": "room_1",
    "name": "shop",
    "status": "open",
    "entry_role": "builder",
    "max_requests": 1,
    "roles": [ROLE, REVIEWER],
    "participants": [],
    "tasks": [TASK, QUARANTINED],
    "cursor": "c3",
    "created_at": AT,
}
ROOM_ENTRY = {name: ROOM[name] for name in ("id", "name", "status", "entry_role", "max_requests", "created_at")} | {
    "roles": ["builder", "reviewer"],
    "closed_at": None,
}
MACHINE = {
    "id": "m1",
    "name": "attic",
    "daemon_connected": False,
    "last_seen_at": AT,
    "harnesses": ["careful"],
    "labels": {},
    "agents": [],
}
ALERT = msgspec.json.decode(
    msgspec.json.encode(make_alert("quarantined", "task_2", "greenroom task show task_2", room="shop", role="builder"))
)
MESSAGE = {"id": "m", "room": "room_1", "sender": "user", "to": "builder", "text": "hi\x07", "task": "task_1", "at": AT}


def make_event(seq: int, type: str, at: str = AT, **data: Any) -> dict[str, Any]:
    event = {"pos": seq, "stream": "room:room_1", "seq": seq, "type": type, "at": at, "cause": "silent", "data": data}
    return event | {"cursor": f"c{seq}"}


def event_stream(*events: dict[str, Any], error: BaseException) -> Iterator[bytes]:
    """An event stream in the server's format, and the exception it ends with."""
    for make_event in events:
        yield from (b"id: " + make_event["cursor"].encode(), b"data: " + json.dumps(make_event).encode(), b"")
    raise error


EVENTS = [
    make_event(1, "participant.joined", role="builder", connection_id="c1"),
    make_event(2, "participant.expired", "2026-11-20T10:05:00.000Z", role="builder", connection_id="c1"),
    make_event(3, "participant.rejoined", "2026-11-20T10:05:42.500Z", role="builder", connection_id="c1"),
    make_event(4, "task.claimed", role="reviewer", task="task_9"),
]


class FakeApi:
    """A transport that answers from a table, with one page for each list, and records the requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self.streams: list[BaseException | Iterator[bytes]] = []
        self.answers: dict[tuple[str, str], Any] = {
            ("GET", "/healthz"): {"status": "ok", "late": []},
            ("GET", "/api/v1/rooms"): [ROOM_ENTRY],
            ("GET", "/api/v1/rooms/room_1"): ROOM,
            ("GET", "/api/v1/rooms/shop"): ROOM,
            ("GET", "/api/v1/alerts"): [ALERT],
            ("GET", "/api/v1/machines"): [MACHINE],
            ("GET", "/api/v1/machines/m1"): MACHINE,
            ("GET", "/api/v1/machines/m1/events"): [],
            ("GET", "/api/v1/rooms/room_1/events"): EVENTS,
            ("GET", "/api/v1/rooms/shop/messages"): [MESSAGE],
            ("GET", "/api/v1/rooms/shop/tasks"): [TASK, QUARANTINED],
            ("GET", "/api/v1/tasks/task_1"): TASK,
            ("POST", "/api/v1/tasks/task_2/retry"): QUARANTINED | {"status": "pending", "failures": 0},
            ("POST", "/api/v1/rooms/shop/messages"): {"message": MESSAGE, "task": TASK},
            ("POST", "/api/v1/rooms"): ROOM,
            ("PUT", "/api/v1/rooms/shop/roles/builder/agent"): ROLE,
            ("POST", "/api/v1/rooms/shop/roles/builder/token"): {"token": "secret"},
        }

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Response:
        self.requests.append((method, path, json.loads(body) if body else None))
        route, _, query = path.partition("?")
        reply = self.answers.get((method, route))
        if reply is None:
            problem = {
                "type": "t",
                "title": "t",
                "status": 404,
                "code": "not_found",
                "detail": "No.",
                "guidance": "Look.",
            }
            return Response(404, {"content-type": "application/problem+json"}, json.dumps(problem).encode())
        if isinstance(reply, list) and "after=" in query:
            reply = []
        return Response(200, {"content-type": "application/json"}, json.dumps(reply).encode())

    def stream(self, path: str, headers: Mapping[str, str], silence_s: float) -> tuple[Response, Iterator[bytes]]:
        self.requests.append(("STREAM", path, headers.get("Last-Event-ID")))
        stream = self.streams.pop(0)
        if isinstance(stream, BaseException):
            raise stream
        return Response(200, {}, b""), stream

    def drop(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeApi:
    api = FakeApi()
    for module in (api_client, connection):
        monkeypatch.setattr(module, "HttpTransport", lambda *_: api)
    monkeypatch.setenv("HOME", str(tmp_path))
    return api


def run_cli(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    assert code == main.main(list(argv))
    return capsys.readouterr().out


def test_status_lists_alerts_first(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    shown = run_cli(capsys, "status")

    alerts, machines, room = (shown.index(part) for part in ("Needs you", "Machines", "Room shop"))
    assert alerts < machines < room
    assert "greenroom task show task_2" in shown
    assert "greenroom wait-for-task" not in shown, "an alert that the server did not raise"


def test_status_json(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(run_cli(capsys, "status", "--json"))

    assert ["server", "needs", "rooms", "machines"] == list(document)
    assert {"url", "status", "late", "since"} == set(document["server"])
    assert [ALERT] == document["needs"]
    assert ROOM["roles"] == document["rooms"][0]["roles"]
    assert [MACHINE] == document["machines"]


def test_status_names_late_loops(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["GET", "/healthz"] = {"status": "late", "late": ["sweep"]}

    document = json.loads(run_cli(capsys, "status", "--json"))

    assert ("late", ["sweep"]) == (document["server"]["status"], document["server"]["late"])
    assert [ALERT] == document["needs"]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("room list", [ROOM_ENTRY]),
        ("messages shop", [MESSAGE]),
        ("machine list", [MACHINE]),
        ("agent token shop/builder", {"token": "secret"}),
        ("agent stop shop/builder", ROLE),
    ],
)
def test_json_output_equals_api_response(
    api: FakeApi, capsys: pytest.CaptureFixture[str], argv: str, expected: Any
) -> None:
    assert expected == json.loads(run_cli(capsys, *argv.split(), "--json"))


def test_task_json_keys(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    [listed, _] = json.loads(run_cli(capsys, "task", "list", "shop", "--json"))
    shown = json.loads(run_cli(capsys, "task", "show", "task_1", "--json"))

    assert listed == shown
    assert {"id", "room", "target_role", "status", "attempt", "failures", "text", "result", "late_results"} < set(shown)


def test_foreign_texts_are_escaped(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in ("messages shop", "task list shop", "task show task_1", "status", "room show shop"):
        shown = run_cli(capsys, *argv.split())
        assert "\x1b" not in shown
        assert "\x07" not in shown
    assert "\\x07" in run_cli(capsys, "messages", "shop")


def test_send_prints_role_and_task(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    run_cli(capsys, "send", "shop", "build", "it", "--to", "builder", code=ExitCode.USAGE)
    shown = run_cli(capsys, "send", "shop", "build it", "--to", "builder")

    assert "sent to builder: task_1 is pending\n" == shown
    [(method, path, body)] = api.requests
    assert ("POST", "/api/v1/rooms/shop/messages") == (method, path)
    assert {"sender": "user", "text": "build it", "to": "builder"}.items() <= body.items()


def test_send_explains_queued_request(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    queued = TASK | {"status": "queued", "target_role": "builder"}
    api.answers["POST", "/api/v1/rooms/shop/messages"] = {"message": MESSAGE, "task": queued}
    api.answers["GET", "/api/v1/rooms/shop"] = ROOM | {"roles": [ROLE | {"status": "waiting"}], "tasks": [queued]}
    assert ExitCode.DONE == main.main(["send", "shop", "build it"])
    assert "greenroom room change shop --max-requests N" in capsys.readouterr().err
    output = run_cli(capsys, "why", "shop/builder")
    assert "task_1 is queued (attempt 0, 0 failures): it starts when an earlier request ends" in output
    assert "next: to run more requests at once: greenroom room change shop --max-requests N" in output


def test_room_create_keeps_role_order(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    run_cli(capsys, "room", "create", "shop", "--roles", "builder, reviewer", "--max-requests", "2")

    [(_, _, body)] = api.requests
    assert {"name": "shop", "roles": ["builder", "reviewer"], "entry_role": None, "max_requests": 2} == body


def test_agent_stop_keeps_rest_of_spec(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    run_cli(capsys, "agent", "stop", "shop/builder", "--reason", "lunch")

    _, _, body = api.requests[-1]
    names = ("kind", "machine", "harness", "model", "workdir", "task_timeout_s", "empty")
    assert {name: ROLE[name] for name in names} | {"desired": "stopped", "reason": "lunch", "now": False} == body


def test_agent_set_changes_named_fields(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    run_cli(capsys, "agent", "set", "shop/builder", "--model", "small")

    _, _, body = api.requests[-1]
    assert {"model": "small", "machine": "m1", "desired": "running"}.items() <= body.items()


@pytest.mark.parametrize(("typed", "sent"), [("90.5", 90.5), ("0", None), ("none", None)])
def test_agent_task_timeout_set_and_removed(
    api: FakeApi, capsys: pytest.CaptureFixture[str], typed: str, sent: float | None
) -> None:
    api.answers["GET", "/api/v1/rooms/shop"] = ROOM | {"roles": [ROLE | {"task_timeout_s": 5.0}, REVIEWER]}
    run_cli(capsys, "agent", "set", "shop/builder", "--task-timeout", typed)

    assert sent == api.requests[-1][2]["task_timeout_s"]

    run_cli(capsys, "agent", "stop", "shop/builder")
    assert 5.0 == api.requests[-1][2]["task_timeout_s"]
    run_cli(capsys, "agent", "set", "shop/builder", "--task-timeout", "soon", code=ExitCode.USAGE)


def test_agent_set_machine_makes_kind_remote(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["PUT", "/api/v1/rooms/shop/roles/reviewer/agent"] = REVIEWER

    run_cli(capsys, "agent", "set", "shop/reviewer", "--machine", "m1", "--harness", "careful")

    assert "remote" == api.requests[-1][2]["kind"]


def test_unknown_role_suggests_name(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert 3 == main.main(["agent", "stop", "shop/bilder"])
    assert "Did you mean `builder`?" in capsys.readouterr().err


def test_why_shows_role_history(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    shown = run_cli(capsys, "why", "shop/builder")

    assert shown.startswith("shop/builder is offline: machine m1 is not connected\n")
    assert "desired: running, remote on attic with careful (generation 4, by operator: because)" in shown
    assert "the role: 10:05:00Z to 10:05:42Z, 42.5 s (silent); reconnected" in shown
    positions = [shown.index(part) for part in ("Z  joined", "Z  lease expired", "Z  rejoined")]
    assert sorted(positions) == positions
    assert "task_9" not in shown
    assert "from the settings of this shell" in shown  # this server is of a version that does not report its limits
    assert "daemon_heartbeat_ttl_s = 120   (GREENROOM_DAEMON_HEARTBEAT_TTL_S)" in shown
    assert shown.endswith("\nnext: a quarantined task needs you: greenroom task show task_2\n")


def test_why_uses_server_limits(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["GET", "/api/v1/limits"] = {"daemon_heartbeat_ttl_s": 17, "of_a_newer_version_s": 1.5}

    shown = run_cli(capsys, "why", "shop/builder")
    document = json.loads(run_cli(capsys, "why", "shop/builder", "--json"))

    assert "as the server reports them" in shown
    assert "daemon_heartbeat_ttl_s = 17 " in shown
    assert ("server", 17.0, 90.0) == (
        document["limits_of"],
        document["limits"]["daemon_heartbeat_ttl_s"],
        document["limits"]["heartbeat_ttl_s"],
    )
    assert "of_a_newer_version_s" not in document["limits"]


def test_why_json(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(run_cli(capsys, "why", "shop/builder", "--json"))

    keys = ["room", "role", "participant", "machine", "tasks", "gaps", "events", "room_status", "machine_names"]
    assert [*keys, "limits", "limits_of", "next"] == list(document)
    assert [42.5] == [gap["seconds"] for gap in document["gaps"]]
    assert [1, 2, 3] == [event["seq"] for event in document["events"]]


def test_config_hides_token_and_names_origins(
    api: FakeApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_TOKEN", "very-secret")
    monkeypatch.setenv("GREENROOM_URLL", "x")

    assert 0 == main.main(["config", "--json"])
    captured = capsys.readouterr()

    document = json.loads(captured.out)
    values = {value["name"]: value for value in document["values"]}
    assert "very-secret" not in captured.out
    assert ("(set)", "environment GREENROOM_TOKEN") == (values["token"]["value"], values["token"]["origin"])
    assert "GREENROOM_HEARTBEAT_TTL_S" == values["heartbeat_ttl_s"]["variable"]
    assert ["GREENROOM_URLL is not a Greenroom variable. Did you mean `GREENROOM_URL`?"] == document["warnings"]
    assert "warning: GREENROOM_URLL" in captured.err


def test_lists_are_read_page_by_page(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    run_cli(capsys, "messages", "shop", "--json")

    assert ["/api/v1/rooms/shop/messages?limit=1000", "/api/v1/rooms/shop/messages?after=m&limit=1000"] == [
        path for _, path, _ in api.requests
    ]


ALL_EVENTS = "/api/v1/events"
UNREACHABLE = Unavailable("The server is away.", "Start it.", "unreachable")
HEARTBEAT_FRAME = [b"event: heartbeat", b"id: c2", b'data: {"cursor":"c2"}', b""]


def stream_from_end(error: BaseException) -> Iterator[bytes]:
    """The stream that the server sends to a client that begins with no event of the past."""
    yield from HEARTBEAT_FRAME
    raise error


def test_watch_starts_now_and_reports_interruption_once(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.streams = [
        stream_from_end(UNREACHABLE),
        UNREACHABLE,
        event_stream(*EVENTS[2:], error=KeyboardInterrupt()),
    ]

    assert 130 == main.main(["watch", "--json"])

    shown = capsys.readouterr()
    assert [3, 4] == [json.loads(line)["seq"] for line in shown.out.splitlines()]
    assert [
        "The server is away. Retrying until it is back.",
        "the connection is back",
    ] == shown.err.splitlines()
    streams = [(path, cursor) for kind, path, cursor in api.requests if kind == "STREAM"]
    assert [(f"{ALL_EVENTS}?newest=0", cursor) for cursor in (None, "c2", "c2")] == streams


def test_watch_text_output(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.streams = [event_stream(*EVENTS, error=KeyboardInterrupt())]

    assert 130 == main.main(["watch", "shop", "--from-start"])

    lines = capsys.readouterr().out.splitlines()
    assert ["10:00:00Z", "shop/builder", "participant.joined", "(silent)"] == lines[0].split()
    assert ["10:00:00Z", "shop/reviewer", "task.claimed", "task=task_9", "(silent)"] == lines[3].split()


def test_watch_fails_at_once_without_server(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.streams = [UNREACHABLE]

    assert 69 == main.main(["watch"])
    assert "The server is away." in capsys.readouterr().err


def test_messages_follow_shows_each_once(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.streams = [event_stream(make_event(5, "message.sent"), make_event(6, "task.opened"), error=KeyboardInterrupt())]

    assert 130 == main.main(["messages", "shop", "--follow", "--json"])

    assert [MESSAGE] == [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["/api/v1/rooms/shop/messages?after=m&limit=1000"] * 2 == [
        path for _, path, _ in api.requests if "messages?after" in path
    ]


def test_status_watch_polls_by_read_duration(api: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock, durations_s, waits = MovedClock(), iter([0.01, 2.0]), list[float]()

    def look(_: object) -> Overview:
        clock.advance(next(durations_s))
        return Overview(server=ServerView(url="", status="ok"), needs=(), rooms=(), machines=())

    class NeverSetEvent(threading.Event):
        """An event that is never set."""

        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            if len(waits) == 2:
                raise KeyboardInterrupt
            return False

    monkeypatch.setattr(status, "read_overview", look)
    monkeypatch.setattr(status, "start_follower", lambda *_: NeverSetEvent())
    with pytest.raises(KeyboardInterrupt):
        status.watch(resolve_settings({}, {"HOME": str(tmp_path)}, None), lambda _: None, clock)

    assert 0.01 + waits[0] < 1.0
    assert waits[1] >= 4.0, "a slow read of many rooms is repeated only after a longer pause"


def test_status_watch_shows_changes_and_outages(api: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(status, "REFRESH_S", 0.0)
    monkeypatch.setattr(status, "RETRY_S", 0.0)
    monkeypatch.setattr(status, "follow_events", lambda *_: None)
    beat = ROOM | {"roles": [ROLE | {"last_seen_at": "2026-11-20T10:00:30.000Z"}, REVIEWER]}
    changed = ROOM | {"roles": [ROLE | {"status": "waiting"}, REVIEWER]}
    states = iter([ROOM, beat, changed, None, None, changed, KeyboardInterrupt()])
    original_request = api.request

    def request(method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float) -> Response:
        if path == "/healthz":
            state = next(states)
            if isinstance(state, KeyboardInterrupt):
                raise state
            if state is None:
                raise UNREACHABLE
            api.answers["GET", "/api/v1/rooms/room_1"] = state
        return original_request(method, path, body, headers, timeout_s)

    monkeypatch.setattr(api, "request", request)
    settings = resolve_settings({}, {"HOME": str(tmp_path)}, None)
    shown: list[Overview] = []

    with pytest.raises(KeyboardInterrupt):
        status.watch(settings, status.skip_unchanged(shown.append), MovedClock())

    assert [
        ("ok", "offline"),
        ("ok", "waiting"),
        ("unreachable", "waiting"),
        ("ok", "waiting"),
    ] == [(overview.server.status, overview.rooms[0].roles[0].status) for overview in shown]
    assert shown[2].server.since is not None
