"""What users can do about each kind of alert: calls that exist, and a command that exists for the first of them."""

from collections.abc import Iterator
from http import HTTPMethod
from typing import Any

import msgspec
import pytest

from greenroom.cli.parser import parse
from greenroom.domain.alert import KINDS
from greenroom.domain.machine import Machine
from greenroom.domain.role import Role
from greenroom.domain.room import OPEN, Room
from greenroom.domain.task import LateResult, Task
from greenroom.server.router import Router
from greenroom.server.routes import OPERATIONS
from greenroom.service.alert_content import AlertFacts, describe, list_actions, next_command

AT = "2026-11-20T10:00:00.000Z"
ROOM = Room(
    id="room_1", name="shop", status=OPEN, entry_role="builder", max_requests=1, roles=("builder",), created_at=AT
)
TASK = Task(
    id="task_1", room="room_1", request="task_1", target_role="builder", status="pending", text="x", created_at=AT
)
LATE = tuple(LateResult(attempt=n, connection_id="c", to="user", text="x", at=AT) for n in (1, 2, 2))
MACHINE = Machine(
    id="m1", name="attic", daemon_connected=False, harnesses=(), labels={}, assignments_version=1, created_at=AT
)
REMOTE = Role(
    room="room_1", name="builder", position=0, kind="remote", machine="m1", harness="shell", last_exit="code 3"
)


def task_facts(kind: str) -> AlertFacts:
    return AlertFacts(kind=kind, subject="task_1", room=ROOM, task=TASK, late_results=LATE)


def role_facts(kind: str, role: Role) -> AlertFacts:
    return AlertFacts(kind=kind, subject="room_1/builder", room=ROOM, role=role, task=TASK, pending_timeout_s=300)


def each_kind() -> Iterator[tuple[str, AlertFacts, str, list[str]]]:
    """A case, its facts, the next command and the verbs of the actions."""
    yield "review", task_facts("review"), "task show task_1", ["show", "accept", "send_back", "cancel"]
    quarantined = task_facts("quarantined")
    yield "quarantined", quarantined, "task show task_1", ["show", "retry", "cancel"]
    late = task_facts("late_result")
    yield "late_result", late, "task show task_1", ["show", "accept", "accept", "cancel"]
    for kind in ("crash_looping", "paused"):
        yield kind, role_facts(kind, REMOTE), "why shop/builder", ["why", "restart"]
    yield "unattended: slow to start", role_facts("unattended", REMOTE), "why shop/builder", ["why", "restart"]
    stopped = msgspec.structs.replace(REMOTE, desired="stopped")
    yield "unattended: stopped", role_facts("unattended", stopped), "agent start shop/builder", ["start"]
    custom = Role(room="room_1", name="builder", position=0)
    yield "unattended: custom", role_facts("unattended", custom), "wait-for-task shop --role builder", []
    away = AlertFacts(kind="machine_not_connected", subject="m1", machine=MACHINE, waiting_roles=("shop/builder",))
    yield "machine_not_connected", away, "daemon start", []
    yield "machine_cloned", AlertFacts(kind="machine_cloned", subject="m1", machine=MACHINE), "doctor", []
    yield "mass_silence", AlertFacts(kind="mass_silence", subject="server", silent=3, senders=4), "doctor", []
    yield "loop_late", AlertFacts(kind="loop_late", subject="sweep"), "doctor", []


CASES = list(each_kind())


def test_each_kind_has_a_case() -> None:
    assert {facts.kind for _, facts, _, _ in CASES} == set(KINDS)


@pytest.mark.parametrize(("facts", "command", "verbs"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_next_command_and_actions(facts: AlertFacts, command: str, verbs: list[str]) -> None:
    router = Router()
    for endpoint in OPERATIONS:
        router.add(endpoint)

    actions = list_actions(facts)

    assert (f"greenroom {command}", verbs) == (next_command(facts), [action.verb for action in actions])
    assert command.startswith(parse(command.split())[0].name)
    for action in actions:
        endpoint, _ = router.find(HTTPMethod(action.method), action.path)
        assert (action.body is None) == (endpoint.body is None)
        if action.body is not None:
            body: Any = msgspec.json.decode(msgspec.json.encode(action.body), type=endpoint.body)
            assert action.body.items() <= msgspec.structs.asdict(body).items()


def test_late_results_are_accepted_newest_attempt_first() -> None:
    facts = task_facts("late_result")

    assert [{"attempt": 2}, {"attempt": 1}] == [each.body for each in list_actions(facts) if each.verb == "accept"]
    assert "3 late results" in describe(facts)


def test_start_keeps_the_agent_spec() -> None:
    stopped = msgspec.structs.replace(REMOTE, desired="stopped", desired_reason="lunch", model="large")

    [start] = list_actions(role_facts("unattended", stopped))

    kept = {"kind": "remote", "machine": "m1", "harness": "shell", "model": "large", "workdir": None}
    assert kept | {"task_timeout_s": None, "empty": "ok", "desired": "running"} == start.body
    assert "stopped: lunch" in describe(role_facts("unattended", stopped))


def test_text_names_some_of_many_waiting_roles() -> None:
    roles = tuple(f"shop/r{number}" for number in range(13))
    text = describe(AlertFacts(kind="machine_not_connected", subject="m1", machine=MACHINE, waiting_roles=roles))

    assert "shop/r9 and 3 more. Start the daemon" in text
    assert "Machine attic is not connected" in text
