"""What the commands for users request from the server and what they print; the transport answers from a table."""

import io
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from greenroom.cli import connection, exits, main, status
from greenroom.cli.overview import Overview, ServerView
from greenroom.cli.table import Table, print_table
from greenroom.client import session
from greenroom.client.transport import Response
from greenroom.clock import MovedClock
from greenroom.domain.errors import Unavailable
from greenroom.settings.resolve import resolve

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
    "wished_at": None,
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
DEAD = TASK | {"id": "task_2", "target_role": "builder", "status": "quarantined", "deaths": 3}
ROOM = {
    "id": "room_1",
    "name": "shop",
    "status": "open",
    "entry_role": "builder",
    "max_requests": 1,
    "roles": [ROLE, REVIEWER],
    "participants": [],
    "tasks": [TASK, DEAD],
    "cursor": 3,
    "created_at": AT,
}
LISTED = {name: ROOM[name] for name in ("id", "name", "status", "entry_role", "max_requests", "created_at")} | {
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
MESSAGE = {"id": "m", "room": "room_1", "sender": "user", "to": "builder", "text": "hi\x07", "task": "task_1", "at": AT}


def event(seq: int, type: str, at: str = AT, **data: Any) -> dict[str, Any]:
    return {"pos": seq, "stream": "room:room_1", "seq": seq, "type": type, "at": at, "cause": "silent", "data": data}


def lines_of(*events: dict[str, Any], then: BaseException) -> Iterator[bytes]:
    """An event stream in the server's format, and the exception it ends with."""
    for one in events:
        yield from (b"id: %d" % one["pos"], b"data: " + json.dumps(one).encode(), b"")
    raise then


EVENTS = [
    event(1, "participant.joined", role="builder", connection_id="c1"),
    event(2, "participant.expired", "2026-11-20T10:05:00.000Z", role="builder", connection_id="c1"),
    event(3, "participant.rejoined", "2026-11-20T10:05:42.500Z", role="builder", connection_id="c1"),
    event(4, "task.claimed", role="reviewer", task="task_9"),
]


class Script:
    """A transport that answers from a table, with one page for each list, and records the requests."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.streams: list[BaseException | Iterator[bytes]] = []
        self.answers: dict[tuple[str, str], Any] = {
            ("GET", "/healthz"): {"status": "ok", "late": []},
            ("GET", "/api/v1/rooms"): [LISTED],
            ("GET", "/api/v1/rooms/room_1"): ROOM,
            ("GET", "/api/v1/rooms/shop"): ROOM,
            ("GET", "/api/v1/attention"): [],
            ("GET", "/api/v1/machines"): [MACHINE],
            ("GET", "/api/v1/machines/m1"): MACHINE,
            ("GET", "/api/v1/machines/m1/events"): [],
            ("GET", "/api/v1/rooms/room_1/events"): EVENTS,
            ("GET", "/api/v1/rooms/shop/messages"): [MESSAGE],
            ("GET", "/api/v1/rooms/shop/tasks"): [TASK, DEAD],
            ("GET", "/api/v1/tasks/task_1"): TASK,
            ("POST", "/api/v1/tasks/task_2/retry"): DEAD | {"status": "pending", "deaths": 0},
            ("POST", "/api/v1/rooms/shop/messages"): {"message": MESSAGE, "task": TASK},
            ("POST", "/api/v1/rooms"): ROOM,
            ("PUT", "/api/v1/rooms/shop/roles/builder/agent"): ROLE,
            ("POST", "/api/v1/rooms/shop/roles/builder/token"): {"token": "secret"},
        }

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Response:
        self.asked.append((method, path, json.loads(body) if body else None))
        route, _, query = path.partition("?")
        answer = self.answers.get((method, route))
        if answer is None:
            problem = {
                "type": "t",
                "title": "t",
                "status": 404,
                "code": "not_found",
                "detail": "No.",
                "guidance": "Look.",
            }
            return Response(404, {"content-type": "application/problem+json"}, json.dumps(problem).encode())
        if isinstance(answer, list) and "after=" in query and "after=0" not in query:
            answer = []
        return Response(200, {"content-type": "application/json"}, json.dumps(answer).encode())

    def stream(self, path: str, headers: Mapping[str, str], silence_s: float) -> tuple[Response, Iterator[bytes]]:
        self.asked.append(("STREAM", path, headers["Last-Event-ID"]))
        told = self.streams.pop(0)
        if isinstance(told, BaseException):
            raise told
        return Response(200, {}, b""), told

    def drop(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Script:
    played = Script()
    for module in (session, connection):
        monkeypatch.setattr(module, "HttpTransport", lambda *_: played)
    monkeypatch.setenv("HOME", str(tmp_path))
    return played


def ask(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    assert code == main.main(list(argv))
    return capsys.readouterr().out


def test_status_says_first_what_needs_a_person(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    shown = ask(capsys, "status")

    needs, machines, room = (shown.index(part) for part in ("Needs you", "Machines", "Room shop"))
    assert needs < machines < room
    assert "greenroom task show task_2" in shown
    assert "greenroom wait-for-task shop --role reviewer" in shown
    assert "shop/builder should run there" in shown


def test_status_as_one_document(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(ask(capsys, "status", "--json"))

    assert ["server", "needs", "rooms", "machines"] == list(told)
    assert {"url", "status", "late", "since"} == set(told["server"])
    assert ["quarantined", "machine_offline", "vacant"] == [need["kind"] for need in told["needs"]]
    assert {"kind", "where", "detail", "next"} == set(told["needs"][0])
    assert ROOM["roles"] == told["rooms"][0]["roles"]
    assert [MACHINE] == told["machines"]


def test_a_late_healer_comes_before_everything(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.answers["GET", "/healthz"] = {"status": "late", "late": ["sweep"]}

    told = json.loads(ask(capsys, "status", "--json"))

    assert ("late", ["sweep"]) == (told["server"]["status"], told["server"]["late"])
    assert "healer_late" == told["needs"][0]["kind"]


@pytest.mark.parametrize(
    ("argv", "shape"),
    [
        ("room list", [LISTED]),
        ("messages shop", [MESSAGE]),
        ("machine list", [MACHINE]),
        ("agent token shop/builder", {"token": "secret"}),
        ("agent stop shop/builder", ROLE),
    ],
)
def test_json_is_what_the_api_says(script: Script, capsys: pytest.CaptureFixture[str], argv: str, shape: Any) -> None:
    assert shape == json.loads(ask(capsys, *argv.split(), "--json"))


def test_tasks_have_stable_keys(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    [listed, _] = json.loads(ask(capsys, "task", "list", "shop", "--json"))
    shown = json.loads(ask(capsys, "task", "show", "task_1", "--json"))

    assert listed == shown
    assert {"id", "room", "target_role", "status", "attempt", "deaths", "text", "result", "late_results"} < set(shown)


def test_what_others_wrote_cannot_move_the_cursor(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in ("messages shop", "task list shop", "task show task_1", "status", "room show shop"):
        shown = ask(capsys, *argv.split())
        assert "\x1b" not in shown
        assert "\x07" not in shown
    assert "\\x07" in ask(capsys, "messages", "shop")


def test_sending_names_the_role_and_the_text(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    ask(capsys, "send", "shop", "build", "it", "--to", "builder", code=exits.USAGE)
    shown = ask(capsys, "send", "shop", "build it", "--to", "builder")

    assert "sent to builder: task_1 is pending\n" == shown
    [(method, path, body)] = script.asked
    assert ("POST", "/api/v1/rooms/shop/messages") == (method, path)
    assert {"sender": "user", "text": "build it", "to": "builder"}.items() <= body.items()


def test_a_request_that_is_queued_says_what_it_waits_for(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    queued = TASK | {"status": "queued", "target_role": "builder"}
    script.answers["POST", "/api/v1/rooms/shop/messages"] = {"message": MESSAGE, "task": queued}
    script.answers["GET", "/api/v1/rooms/shop"] = ROOM | {"roles": [ROLE | {"status": "waiting"}], "tasks": [queued]}
    assert exits.DONE == main.main(["send", "shop", "build it"])
    assert "greenroom room change shop --max-requests N" in capsys.readouterr().err
    told = ask(capsys, "why", "shop/builder")
    assert "task_1 is queued (attempt 0, 0 failures): it starts when an earlier request ends" in told
    assert "next: to run more requests at once: greenroom room change shop --max-requests N" in told


def test_a_room_is_created_with_its_roles_in_order(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    ask(capsys, "room", "create", "shop", "--roles", "builder, reviewer", "--max-requests", "2")

    [(_, _, body)] = script.asked
    assert {"name": "shop", "roles": ["builder", "reviewer"], "entry_role": None, "max_requests": 2} == body


def test_a_stop_keeps_the_rest_of_the_wish(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    ask(capsys, "agent", "stop", "shop/builder", "--reason", "lunch")

    _, _, body = script.asked[-1]
    kept = {name: ROLE[name] for name in ("kind", "machine", "harness", "model", "workdir", "task_timeout_s")}
    assert kept | {"desired": "stopped", "reason": "lunch"} == body


def test_a_wish_changes_what_is_named(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    ask(capsys, "agent", "set", "shop/builder", "--model", "small")

    _, _, body = script.asked[-1]
    assert {"model": "small", "machine": "m1", "desired": "running"}.items() <= body.items()


@pytest.mark.parametrize(("typed", "sent"), [("90.5", 90.5), ("0", None), ("none", None)])
def test_a_task_timeout_is_set_and_taken_off(
    script: Script, capsys: pytest.CaptureFixture[str], typed: str, sent: float | None
) -> None:
    script.answers["GET", "/api/v1/rooms/shop"] = ROOM | {"roles": [ROLE | {"task_timeout_s": 5.0}, REVIEWER]}
    ask(capsys, "agent", "set", "shop/builder", "--task-timeout", typed)

    assert sent == script.asked[-1][2]["task_timeout_s"]

    ask(capsys, "agent", "stop", "shop/builder")
    assert 5.0 == script.asked[-1][2]["task_timeout_s"]
    ask(capsys, "agent", "set", "shop/builder", "--task-timeout", "soon", code=exits.USAGE)


def test_naming_a_machine_means_that_its_daemon_runs_it(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.answers["PUT", "/api/v1/rooms/shop/roles/reviewer/agent"] = REVIEWER

    ask(capsys, "agent", "set", "shop/reviewer", "--machine", "m1", "--harness", "careful")

    assert "remote" == script.asked[-1][2]["kind"]


def test_a_misspelt_role_is_not_found(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    assert 3 == main.main(["agent", "stop", "shop/bilder"])
    assert "Did you mean `builder`?" in capsys.readouterr().err


def test_why_tells_the_story_of_one_role(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    shown = ask(capsys, "why", "shop/builder")

    assert shown.startswith("shop/builder is offline: machine m1 is not connected\n")
    assert "desired: running, remote on attic with careful (generation 4, by operator: because)" in shown
    assert "the role: 10:05:00Z to 10:05:42Z, 42.5 s (silent); reconnected" in shown
    told = [shown.index(part) for part in ("Z  joined", "Z  lease expired", "Z  rejoined")]
    assert sorted(told) == told
    assert "task_9" not in shown
    assert "from the settings of this shell" in shown  # this server is of a version that does not report its limits
    assert "daemon_heartbeat_ttl_s = 120   (GREENROOM_DAEMON_HEARTBEAT_TTL_S)" in shown
    assert shown.endswith("\nnext: a quarantined task needs you: greenroom task show task_2\n")


def test_why_goes_by_the_limits_of_the_server(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.answers["GET", "/api/v1/limits"] = {"daemon_heartbeat_ttl_s": 17, "of_a_newer_version_s": 1.5}

    shown = ask(capsys, "why", "shop/builder")
    told = json.loads(ask(capsys, "why", "shop/builder", "--json"))

    assert "as the server reports them" in shown
    assert "daemon_heartbeat_ttl_s = 17 " in shown
    assert ("server", 17.0, 90.0) == (
        told["limits_of"],
        told["limits"]["daemon_heartbeat_ttl_s"],
        told["limits"]["heartbeat_ttl_s"],
    )
    assert "of_a_newer_version_s" not in told["limits"]


def test_why_as_one_document(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(ask(capsys, "why", "shop/builder", "--json"))

    known = ["room", "role", "participant", "machine", "tasks", "gaps", "events", "room_status", "machine_names"]
    assert [*known, "limits", "limits_of", "next"] == list(told)
    assert [42.5] == [gap["seconds"] for gap in told["gaps"]]
    assert [1, 2, 3] == [one["seq"] for one in told["events"]]


def test_config_hides_the_token_and_names_origins(
    script: Script, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_TOKEN", "very-secret")
    monkeypatch.setenv("GREENROOM_URLL", "x")

    assert 0 == main.main(["config", "--json"])
    shown = capsys.readouterr()

    told = json.loads(shown.out)
    values = {value["name"]: value for value in told["values"]}
    assert "very-secret" not in shown.out
    assert ("(set)", "environment GREENROOM_TOKEN") == (values["token"]["value"], values["token"]["origin"])
    assert "GREENROOM_HEARTBEAT_TTL_S" == values["heartbeat_ttl_s"]["variable"]
    assert ["GREENROOM_URLL is not a Greenroom variable. Did you mean `GREENROOM_URL`?"] == told["warnings"]
    assert "warning: GREENROOM_URLL" in shown.err


def test_lists_are_read_to_their_end(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    ask(capsys, "messages", "shop", "--json")

    assert ["/api/v1/rooms/shop/messages?limit=1000", "/api/v1/rooms/shop/messages?after=m&limit=1000"] == [
        path for _, path, _ in script.asked
    ]


LOST = Unavailable("The server is away.", "Start it.", "unreachable")
AT_THE_END = [b"event: reset", b"id: 2", b"data: {}", b""]


def at_the_end(then: BaseException) -> Iterator[bytes]:
    """The stream that the server sends to a cursor beyond its last event."""
    yield from AT_THE_END
    raise then


def test_watch_begins_now_and_says_once_that_it_was_interrupted(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    script.streams = [at_the_end(LOST), LOST, lines_of(*EVENTS[2:], then=KeyboardInterrupt())]

    assert 130 == main.main(["watch", "--json"])

    shown = capsys.readouterr()
    assert [3, 4] == [json.loads(line)["seq"] for line in shown.out.splitlines()]
    assert [
        "The server is away. Retrying until it is back.",
        "the connection is back",
    ] == shown.err.splitlines()
    cursors = [cursor for kind, _, cursor in script.asked if kind == "STREAM"]
    assert int(cursors[0]) > 2**50
    assert ["2", "2"] == cursors[1:]


def test_watch_in_words(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.streams = [lines_of(*EVENTS, then=KeyboardInterrupt())]

    assert 130 == main.main(["watch", "shop", "--from-start"])

    lines = capsys.readouterr().out.splitlines()
    assert ["10:00:00Z", "shop/builder", "participant.joined", "(silent)"] == lines[0].split()
    assert ["10:00:00Z", "shop/reviewer", "task.claimed", "task=task_9", "(silent)"] == lines[3].split()


def test_nobody_there_to_watch_is_told_at_once(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.streams = [LOST]

    assert 69 == main.main(["watch"])
    assert "The server is away." in capsys.readouterr().err


def test_following_messages_shows_each_once(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.streams = [lines_of(event(5, "message.sent"), event(6, "task.opened"), then=KeyboardInterrupt())]

    assert 130 == main.main(["messages", "shop", "--follow", "--json"])

    assert [MESSAGE] == [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["/api/v1/rooms/shop/messages?after=m&limit=1000"] * 2 == [
        path for _, path, _ in script.asked if "messages?after" in path
    ]


def test_what_changes_by_time_alone_is_looked_for_within_a_second_where_a_look_is_quick(
    script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock, takes_s, waits = MovedClock(), iter([0.01, 2.0]), list[float]()

    def look(_: object) -> Overview:
        clock.move(next(takes_s))
        return Overview(server=ServerView(url="", status="ok"), needs=(), rooms=(), machines=())

    class Bell(threading.Event):
        """An event that is never set."""

        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            if len(waits) == 2:
                raise KeyboardInterrupt
            return False

    monkeypatch.setattr(status, "look", look)
    monkeypatch.setattr(status, "follower_of", lambda *_: Bell())
    with pytest.raises(KeyboardInterrupt):
        status.watch(resolve({}, {"HOME": str(tmp_path)}, None), lambda _: None, clock)

    assert 0.01 + waits[0] < 1.0
    assert waits[1] >= 4.0, "a slow read of many rooms is repeated only after a longer pause"


def test_a_watched_house_is_shown_when_it_changes_and_when_its_server_is_away(
    script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(status, "REFRESH_S", 0.0)
    monkeypatch.setattr(status, "RETRY_S", 0.0)
    monkeypatch.setattr(status, "follow", lambda *_: None)
    beat = ROOM | {"roles": [ROLE | {"last_seen_at": "2026-11-20T10:00:30.000Z"}, REVIEWER]}
    changed = ROOM | {"roles": [ROLE | {"status": "waiting"}, REVIEWER]}
    states = iter([ROOM, beat, changed, None, None, changed, KeyboardInterrupt()])
    ask_before = script.request

    def request(method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float) -> Response:
        if path == "/healthz":
            state = next(states)
            if isinstance(state, KeyboardInterrupt):
                raise state
            if state is None:
                raise LOST
            script.answers["GET", "/api/v1/rooms/room_1"] = state
        return ask_before(method, path, body, headers, timeout_s)

    monkeypatch.setattr(script, "request", request)
    settings = resolve({}, {"HOME": str(tmp_path)}, None)
    shown: list[Overview] = []

    with pytest.raises(KeyboardInterrupt):
        status.watch(settings, status.only_changes(shown.append), MovedClock())

    assert [
        ("ok", "offline"),
        ("ok", "waiting"),
        ("unreachable", "waiting"),
        ("ok", "waiting"),
    ] == [(one.server.status, one.rooms[0].roles[0].status) for one in shown]
    assert shown[2].server.since is not None


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_table_is_drawn_and_markup_is_only_text() -> None:
    screen = Screen()

    print_table(screen, Table("Tasks", ("ID", "TEXT"), [("task_1", "[bold]x[/bold] \x1b[2J")]))

    drawn = screen.getvalue()
    assert "[bold]x[/bold] \\x1b[2J" in drawn
    assert "TEXT" in drawn
