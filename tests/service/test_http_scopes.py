"""Every call with every kind of token: one table says what each may do, and fails for a call that it lacks."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest

from greenroom.server.routes import OPERATIONS
from greenroom.store import event_log
from tests.service.in_process_server import AsgiResponse, InProcessServer

SCOPES: Final = ("none", "operator", "machine", "agent", "attempt", "finished", "other_agent", "other_machine")
"""In the order of the columns. `machine` runs the role builder of room r, `agent` is the token of that role, `attempt`
holds a task of it and `finished` has completed one. `other_agent` and `other_machine` belong to room s."""

R: Final = "/api/v1/rooms/r"
BUILDER: Final = {"role": "builder", "connection_id": "c1"}
ATTEMPT: Final = {"connection_id": "c1", "attempt": 1}
JOIN: Final = {"connection_id": "c1"}
LATE_RESULT: Final = {"connection_id": "c1", "attempt": 1, "text": "something else"}


class ScopeRow(NamedTuple):
    """One request, and the status of its answer for each scope."""

    call: str
    request: str
    body: Any
    answers: str


# fmt: off
ROWS: Final = (
    #                                                                     none oper mach agen atte fini o.ag o.ma
    # Rooms.
    ScopeRow("create_room",   "POST /api/v1/rooms", {"name": "n", "roles": ["a"]},
                                                                         "401 201 403 403 403 403 403 403"),
    ScopeRow("list_rooms",    "GET /api/v1/rooms", None,                      "401 200 403 403 403 403 403 403"),
    ScopeRow("show_room",     f"GET {R}", None,                               "401 200 200 200 200 403 403 403"),
    ScopeRow("change_room",   f"PATCH {R}", {"max_requests": 20},             "401 200 403 403 403 403 403 403"),
    ScopeRow("close_room",    "POST /api/v1/rooms/empty/close", {},           "401 200 403 403 403 403 403 403"),
    ScopeRow("delete_room",   "DELETE /api/v1/rooms/closed", None,            "401 204 403 403 403 403 403 403"),
    ScopeRow("send_message",  f"POST {R}/messages", {"sender": "user", "text": "do it"},
                                                                         "401 201 403 403 403 403 403 403"),
    ScopeRow("send_message",  f"POST {R}/messages", {"sender": "builder", "text": "I see", "connection_id": "c1"},
                                                                         "401 201 201 201 201 403 403 403"),
    ScopeRow("list_messages", f"GET {R}/messages", None,                      "401 200 200 200 200 403 403 403"),
    ScopeRow("room_events",   f"GET {R}/events", None,                        "401 200 200 200 200 403 403 403"),
    ScopeRow("set_agent",     f"PUT {R}/roles/builder/agent", {"kind": "custom"},
                                                                         "401 200 403 403 403 403 403 403"),
    ScopeRow("restart_agent", f"POST {R}/roles/builder/agent/restart", {},    "401 200 403 403 403 403 403 403"),
    ScopeRow("make_agent_token", f"POST {R}/roles/builder/token", None,       "401 200 200 403 403 403 403 403"),
    ScopeRow("make_agent_token", f"POST {R}/roles/reviewer/token", None,      "401 200 403 403 403 403 403 403"),
    # Presence.
    ScopeRow("join",          f"POST {R}/participants/builder/join", JOIN,    "401 200 200 200 403 403 403 403"),
    ScopeRow("heartbeat",     f"POST {R}/participants/builder/heartbeat", JOIN,
                                                                         "401 200 200 200 403 403 403 403"),
    ScopeRow("leave",         f"POST {R}/participants/builder/leave", JOIN,   "401 200 200 200 403 403 403 403"),
    # Another role of the same room.
    ScopeRow("join",          f"POST {R}/participants/reviewer/join", JOIN,   "401 200 403 403 403 403 403 403"),
    ScopeRow("heartbeat",     f"POST {R}/participants/reviewer/heartbeat", JOIN,
                                                                         "401 200 403 403 403 403 403 403"),
    ScopeRow("leave",         f"POST {R}/participants/reviewer/leave", JOIN,  "401 200 403 403 403 403 403 403"),
    # What agents do with tasks.
    ScopeRow("claim_task",    f"POST {R}/tasks/claim", BUILDER,               "401 200 200 200 403 403 403 403"),
    ScopeRow("list_tasks",    f"GET {R}/tasks", None,                         "401 200 200 200 200 403 403 403"),
    ScopeRow("show_task",     "GET /api/v1/tasks/{held}", None,               "401 200 200 200 200 403 403 403"),
    ScopeRow("start_task",    "POST /api/v1/tasks/{held}/start", ATTEMPT,     "401 200 200 200 200 403 403 403"),
    ScopeRow("progress_task", "POST /api/v1/tasks/{held}/progress", {**ATTEMPT, "text": "half way"},
                                                                         "401 200 200 200 200 403 403 403"),
    ScopeRow("complete_task", "POST /api/v1/tasks/{held}/complete", ATTEMPT,  "401 200 200 200 200 403 403 403"),
    ScopeRow("hand_off_task", "POST /api/v1/tasks/{held}/handoff", {**ATTEMPT, "to": "reviewer", "text": "yours"},
                                                                         "401 200 200 200 200 403 403 403"),
    ScopeRow("decline_task",  "POST /api/v1/tasks/{held}/decline", {**ATTEMPT, "reason": "no"},
                                                                         "401 200 200 200 200 403 403 403"),
    # The same with a task that is over: the same call is answered again, another text is a late result.
    ScopeRow("show_task",     "GET /api/v1/tasks/{completed}", None,          "401 200 200 200 200 403 403 403"),
    ScopeRow("start_task",    "POST /api/v1/tasks/{completed}/start", ATTEMPT,
                                                                         "401 409 409 409 403 403 403 403"),
    ScopeRow("progress_task", "POST /api/v1/tasks/{completed}/progress", {**ATTEMPT, "text": "half way"},
                                                                         "401 409 409 409 403 403 403 403"),
    ScopeRow("complete_task", "POST /api/v1/tasks/{completed}/complete", ATTEMPT,
                                                                         "401 200 200 200 403 200 403 403"),
    ScopeRow("complete_task", "POST /api/v1/tasks/{cancelled}/complete", LATE_RESULT,
                                                                         "401 409 409 409 403 409 403 403"),
    ScopeRow("hand_off_task", "POST /api/v1/tasks/{cancelled}/handoff", {**LATE_RESULT, "to": "reviewer"},
                                                                         "401 409 409 409 403 409 403 403"),
    ScopeRow("decline_task",  "POST /api/v1/tasks/{cancelled}/decline", {**ATTEMPT, "reason": "no"},
                                                                         "401 409 409 409 403 403 403 403"),
    # What users do with tasks.
    ScopeRow("cancel_task",   "POST /api/v1/tasks/{held}/cancel", {},         "401 200 403 403 403 403 403 403"),
    ScopeRow("reset_task",    "POST /api/v1/tasks/{held}/reset", {},          "401 200 403 403 403 403 403 403"),
    ScopeRow("retry_task",    "POST /api/v1/tasks/{quarantined}/retry", {},   "401 200 403 403 403 403 403 403"),
    ScopeRow("accept_task",   "POST /api/v1/tasks/{review}/accept", {},       "401 200 403 403 403 403 403 403"),
    ScopeRow("send_back_task", "POST /api/v1/tasks/{review}/send-back", {},   "401 200 403 403 403 403 403 403"),
    ScopeRow("queue_task",    "POST /api/v1/tasks/{item}/queue", {},          "401 200 403 403 403 403 403 403"),
    ScopeRow("note_task",     "POST /api/v1/tasks/{held}/note", {"text": "mind the step"},
                                                                         "401 200 403 403 403 403 403 403"),
    ScopeRow("add_to_backlog", f"POST {R}/backlog", {"text": "later"},        "401 201 403 403 403 403 403 403"),
    # Machines.
    ScopeRow("list_machines", "GET /api/v1/machines", None,                   "401 200 403 403 403 403 403 403"),
    ScopeRow("show_machine",  "GET /api/v1/machines/m1", None,                "401 200 200 403 403 403 403 403"),
    ScopeRow("register_machine", "PUT /api/v1/machines/m1", {"name": "m1", "harnesses": ["shell"]},
                                                                         "401 200 200 403 403 403 403 403"),
    ScopeRow("delete_machine", "DELETE /api/v1/machines/idle", None,          "401 204 403 403 403 403 403 403"),
    ScopeRow("machine_heartbeat", "POST /api/v1/machines/m1/heartbeat", {"incarnation": "i1"},
                                                                         "401 200 200 403 403 403 403 403"),
    ScopeRow("list_assignments", "GET /api/v1/machines/m1/assignments", None,      "401 200 200 403 403 403 403 403"),
    ScopeRow("post_reports",    "POST /api/v1/machines/m1/reports", {"incarnation": "i1", "reports": []},
                                                                         "401 200 200 403 403 403 403 403"),
    ScopeRow("machine_events", "GET /api/v1/machines/m1/events", None,        "401 200 200 403 403 403 403 403"),
    ScopeRow("make_machine_token", "POST /api/v1/machines/m1/token", None,    "401 200 403 403 403 403 403 403"),
    # The server.
    ScopeRow("list_alerts", "GET /api/v1/alerts", None,                 "401 200 403 403 403 403 403 403"),
    ScopeRow("all_events",    "GET /api/v1/events", None,                     "401 200 403 403 403 403 403 403"),
    ScopeRow("show_limits",   "GET /api/v1/limits", None,                     "401 200 200 200 200 200 200 200"),
    ScopeRow("show_metrics",  "GET /metrics", None,                           "401 200 403 403 403 403 403 403"),
    ScopeRow("healthz",       "GET /healthz", None,                           "200 200 200 200 200 200 200 200"),
    ScopeRow("readyz",        "GET /readyz", None,                            "200 200 200 200 200 200 200 200"),
    # What does not exist: only an operator gets a 404.
    ScopeRow("show_room",     "GET /api/v1/rooms/nowhere", None,              "401 404 403 403 403 403 403 403"),
    ScopeRow("show_task",     "GET /api/v1/tasks/task_none", None,            "401 404 403 403 403 403 403 403"),
    ScopeRow("show_machine",  "GET /api/v1/machines/unknown", None,           "401 404 403 403 403 403 403 403"),
    ScopeRow("join",          f"POST {R}/participants/unknown/join", JOIN,    "401 404 403 403 403 403 403 403"),
    ScopeRow("complete_task", "POST /api/v1/tasks/task_none/complete", ATTEMPT,
                                                                         "401 404 403 403 403 403 403 403"),
)
# fmt: on


class PopulatedServer:
    """Rooms, machines and tasks in each state, and a token of each kind."""

    def __init__(self, server: InProcessServer) -> None:
        self.server = server
        for name in ("r", "s", "empty", "closed"):
            server.post("/api/v1/rooms", {"name": name, "roles": ["builder", "reviewer"], "max_requests": 20})
        server.post("/api/v1/rooms/closed/close", {})
        for machine, room in (("m1", "r"), ("m2", "s")):
            server.put(f"/api/v1/machines/{machine}", {"name": machine, "harnesses": ["shell"]})
            agent_spec = {"kind": "remote", "machine": machine, "harness": "shell"}
            assert 200 == server.put(f"/api/v1/rooms/{room}/roles/builder/agent", agent_spec).status
            server.post(f"/api/v1/machines/{machine}/heartbeat", {"incarnation": "i1"})
        server.put("/api/v1/machines/idle", {"name": "idle", "harnesses": []})
        server.post(f"{R}/participants/builder/join", JOIN)
        self.tasks = self._create_tasks()
        keys = server.service_context.tokens
        room_ids = {name: server.get(f"/api/v1/rooms/{name}").json["id"] for name in ("r", "s")}
        self.tokens: dict[str, str | None] = {
            "none": None,
            "operator": keys.make_operator_token(),
            "machine": keys.make_machine_token("m1"),
            "agent": keys.make_agent_token(room_ids["r"], "builder"),
            "other_agent": keys.make_agent_token(room_ids["s"], "builder"),
            "other_machine": keys.make_machine_token("m2"),
            "attempt": self._token_by_task["held"],
            "finished": self._token_by_task["completed"],
            "cancelled": self._token_by_task["cancelled"],
        }

    def _create_tasks(self) -> dict[str, str]:
        """One task for each name in the table; the held one comes last, since a participant holds one at a time."""
        server = self.server
        self._token_by_task: dict[str, str] = {}
        task_ids: dict[str, str] = {}
        item = server.post(f"{R}/backlog", {"text": "later"}).json["id"]
        review = server.post(f"{R}/backlog", {"text": "first"}).json["id"]
        assert 200 == server.post(f"/api/v1/tasks/{review}/queue", {}).status
        for name in ("review", "completed", "cancelled", "quarantined", "held"):
            if name != "review":
                server.post(f"{R}/messages", {"sender": "user", "text": name})
            task = server.post(f"{R}/tasks/claim", BUILDER).json
            task_ids[name], self._token_by_task[name] = task["id"], task["token"]
            path = f"/api/v1/tasks/{task['id']}"
            if name in ("review", "completed"):
                assert 200 == server.post(f"{path}/complete", ATTEMPT).status
            elif name == "cancelled":
                assert 200 == server.post(f"{path}/cancel", {}).status
            elif name == "quarantined":
                assert 200 == server.post(f"{path}/decline", {**ATTEMPT, "reason": "no"}).status
        return {**task_ids, "item": item}

    def send(self, row: ScopeRow, scope: str) -> AsgiResponse:
        method, _, path = row.request.partition(" ")
        # The finished attempt calls about its own task: about the cancelled one where the table names that.
        token = self.tokens["cancelled" if scope == "finished" and "{cancelled}" in path else scope]
        return self.server.call(method, path.format(**self.tasks), row.body, token=token)


@pytest.fixture
def populated() -> Iterator[PopulatedServer]:
    with InProcessServer() as server:
        yield PopulatedServer(server)


@pytest.fixture(scope="module")
def shared() -> Iterator[PopulatedServer]:
    """One server for all the requests that are refused, since those change nothing."""
    with InProcessServer() as server:
        yield PopulatedServer(server)


def select_cells(refused: bool) -> list[Any]:
    """The cells of the table that are refused (401 or 403), or those that are not."""
    return [
        pytest.param(row, scope, int(status), id=f"{row.call}-{row.request.rpartition('/')[2]}-{scope}")
        for row in ROWS
        for scope, status in zip(SCOPES, row.answers.split(), strict=True)
        if (status in ("401", "403")) is refused
    ]


@pytest.mark.parametrize(("row", "scope", "status"), select_cells(refused=False))
def test_allowed_calls(populated: PopulatedServer, row: ScopeRow, scope: str, status: int) -> None:
    answer = populated.send(row, scope)

    assert status == answer.status, answer.body


@pytest.mark.parametrize(("row", "scope", "status"), select_cells(refused=True))
def test_refused_calls_change_nothing(shared: PopulatedServer, row: ScopeRow, scope: str, status: int) -> None:
    before = last_position(shared)
    answer = shared.send(row, scope)

    assert status == answer.status, answer.body
    assert before == last_position(shared)


def last_position(populated: PopulatedServer) -> int:
    """The position of the last event: each change of the store is an event."""
    return populated.server.service_context.store.read(event_log.get_last_pos)


def test_table_has_every_operation() -> None:
    assert {call.name for call in OPERATIONS} == {row.call for row in ROWS}


@pytest.mark.parametrize("scope", SCOPES[2:])
def test_foreign_room_looks_like_missing_room(shared: PopulatedServer, scope: str) -> None:
    token = shared.tokens[scope]
    foreign_room = shared.server.get("/api/v1/rooms/empty", token=token).json
    missing_room = shared.server.get("/api/v1/rooms/nowhere", token=token).json
    assert foreign_room == missing_room
