"""Describes an alert for users: its text, what users can do about it, and the next command. Pure functions of facts.

The texts name rooms, roles and machines as they are called now. The first action is the one to begin with: it shows
what has to be decided, or resolves the alert where there is nothing to look at.
"""

from typing import Any, Final, NamedTuple

import msgspec

from greenroom.domain.alert import (
    CRASH_LOOPING,
    LATE_RESULT,
    LOOP_LATE,
    MACHINE_CLONED,
    MACHINE_NOT_CONNECTED,
    MASS_SILENCE,
    PAUSED,
    QUARANTINED,
    REVIEW,
    UNATTENDED,
)
from greenroom.domain.machine import Machine
from greenroom.domain.role import CUSTOM, HOLD_WORDS, RUNNING, STOPPED, Role
from greenroom.domain.role_status import restart_advice, stop_reason
from greenroom.domain.room import Room
from greenroom.domain.task import LateResult, Task
from greenroom.wire.replies import AlertAction

API: Final = "/api/v1"
ROLES_NAMED_MAX: Final = 10
"""At most so many waiting roles are named in a text."""
CHECK_COMMAND: Final = "greenroom doctor"
SPEC_FIELDS: Final = ("kind", "machine", "harness", "model", "workdir", "task_timeout_s", "empty")


class AlertFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about the cause of an alert. Which fields a kind has follows from its subject.

    `waiting_roles` are the roles that wait for a machine, as users write them (ROOM/ROLE). `silent` of `senders` agents
    and machines stopped sending heartbeats.
    """

    kind: str
    subject: str
    room: Room | None = None
    role: Role | None = None
    task: Task | None = None
    machine: Machine | None = None
    late_results: tuple[LateResult, ...] = ()
    waiting_roles: tuple[str, ...] = ()
    pending_timeout_s: float = 0.0
    silent: int = 0
    senders: int = 0

    @property
    def role_path(self) -> str:
        """The role as users write it: ROOM/ROLE."""
        assert self.room is not None
        assert self.role is not None
        return f"{self.room.name}/{self.role.name}"


class Choice(NamedTuple):
    """An action, and the command that does the same."""

    action: AlertAction
    command: str


# Texts.


def describe(facts: AlertFacts) -> str:
    """What needs a user, and why."""
    return TEXTS[facts.kind](facts)


def describe_review(facts: AlertFacts) -> str:
    assert facts.task is not None
    task = facts.task
    reason_text = f": {task.reason}" if task.reason else ""
    return f"Task {task.id} for {task.target_role} is done, and its result waits for a review{reason_text}"


def describe_quarantined(facts: AlertFacts) -> str:
    assert facts.task is not None
    task = facts.task
    return f"Task {task.id} for {task.target_role} was quarantined" + (f": {task.reason}" if task.reason else "")


def describe_late_result(facts: AlertFacts) -> str:
    assert facts.task is not None
    task, count = facts.task, len(facts.late_results)
    results = "1 late result" if count == 1 else f"{count} late results"
    return (
        f"Task {task.id} for {task.target_role} has {results}, from an attempt that no longer counts. Accept one, or "
        "let the task go on: its next result settles this, too."
    )


def describe_hold(facts: AlertFacts) -> str:
    assert facts.role is not None
    return f"{facts.role_path} is {HOLD_WORDS[facts.kind]}: {restart_advice(facts.role, facts.role_path)}."


def describe_unattended(facts: AlertFacts) -> str:
    assert facts.room is not None
    assert facts.role is not None
    assert facts.task is not None
    stopped = f" Its agent is stopped: {stop_reason(facts.role)}." if facts.role.desired == STOPPED else ""
    return (
        f"Task {facts.task.id} for {facts.role.name} in room {facts.room.name} has been pending for more than "
        f"{facts.pending_timeout_s:g} s, and no agent is present in the role.{stopped}"
    )


def describe_machine_not_connected(facts: AlertFacts) -> str:
    assert facts.machine is not None
    named, more = facts.waiting_roles[:ROLES_NAMED_MAX], len(facts.waiting_roles) - ROLES_NAMED_MAX
    roles = ", ".join(named) + (f" and {more} more" if more > 0 else "")
    return (
        f"Machine {facts.machine.name} is not connected, and tasks wait for its agents: {roles}. Start the daemon on "
        "that machine."
    )


def describe_machine_cloned(facts: AlertFacts) -> str:
    assert facts.machine is not None
    return (
        f"Two daemons run for machine {facts.machine.name} ({facts.machine.id}); the newest keeps it, and the other is "
        "asked to stop. If a disk or a data directory was copied, remove the file `machine.json` from the data "
        "directory of the copy and start its daemon again: it then registers as a machine of its own."
    )


def describe_mass_silence(facts: AlertFacts) -> str:
    return (
        f"{facts.silent} of {facts.senders} agents and machines stopped sending heartbeats at the same time. The "
        "cause is probably this server or its network; they reconnect by themselves once it is reachable."
    )


def describe_loop_late(facts: AlertFacts) -> str:
    return (
        f"The server's background loop {facts.subject} is late. The server's machine may be overloaded, or its store "
        "unavailable; its log names the cause."
    )


TEXTS: Final = {
    REVIEW: describe_review,
    QUARANTINED: describe_quarantined,
    LATE_RESULT: describe_late_result,
    CRASH_LOOPING: describe_hold,
    PAUSED: describe_hold,
    UNATTENDED: describe_unattended,
    MACHINE_NOT_CONNECTED: describe_machine_not_connected,
    MACHINE_CLONED: describe_machine_cloned,
    MASS_SILENCE: describe_mass_silence,
    LOOP_LATE: describe_loop_late,
}


# Actions.


def list_actions(facts: AlertFacts) -> tuple[AlertAction, ...]:
    """The calls that a user may make about an alert, the one to begin with first."""
    return tuple(choice.action for choice in list_choices(facts))


def next_command(facts: AlertFacts) -> str:
    """The command to begin with: that of the first action or, without one, what no call to the server can do."""
    choices = list_choices(facts)
    if choices:
        return choices[0].command
    if facts.kind == MACHINE_NOT_CONNECTED:
        return "greenroom daemon start"
    if facts.kind == UNATTENDED:
        room, _, role = facts.role_path.partition("/")
        return f"greenroom wait-for-task {room} --role {role}"
    return CHECK_COMMAND


def list_choices(facts: AlertFacts) -> tuple[Choice, ...]:
    """The actions of an alert with their commands."""
    if facts.task is not None and facts.role is None:
        return list_task_choices(facts.kind, facts.task.id, facts.late_results)
    return list_role_choices(facts) if facts.role is not None else ()


def list_task_choices(kind: str, task: str, late_results: tuple[LateResult, ...]) -> tuple[Choice, ...]:
    """What a user may do about a task: look at it first, then decide."""
    look = Choice(task_action("show", "Show the task", task, method="GET"), f"greenroom task show {task}")
    cancel = Choice(task_action("cancel", "Cancel the task", task, "cancel"), f"greenroom task cancel {task}")
    if kind == QUARANTINED:
        retry = Choice(task_action("retry", "Try again", task, "retry"), f"greenroom task retry {task}")
        return (look, retry, cancel)
    if kind == REVIEW:
        accept = Choice(task_action("accept", "Accept the result", task, "accept"), f"greenroom task accept {task}")
        send_back = task_action("send_back", "Send the result back", task, "send-back")
        return (look, accept, Choice(send_back, f"greenroom backlog send-back {task}"), cancel)
    accepted = tuple(
        Choice(
            task_action("accept", f"Accept the result of attempt {attempt}", task, "accept", attempt=attempt),
            f"greenroom task accept {task} --attempt {attempt}",
        )
        for attempt in sorted({late.attempt for late in late_results}, reverse=True)
    )
    return (look, *accepted, cancel)


def task_action(
    verb: str, label: str, task: str, call: str = "", method: str = "POST", **body: str | int
) -> AlertAction:
    """An action that is a call about a task. A GET has no body."""
    path = f"{API}/tasks/{task}" + (f"/{call}" if call else "")
    return AlertAction(verb=verb, label=label, method=method, path=path, body=body if method == "POST" else None)


def list_role_choices(facts: AlertFacts) -> tuple[Choice, ...]:
    """What a user may do about a role. An agent that a user runs is started by no call."""
    assert facts.room is not None
    assert facts.role is not None
    room_path = f"{API}/rooms/{facts.room.id}"
    agent_path = f"{room_path}/roles/{facts.role.name}/agent"
    if facts.kind == UNATTENDED and facts.role.desired == STOPPED:
        spec: dict[str, Any] = {name: getattr(facts.role, name) for name in SPEC_FIELDS} | {"desired": RUNNING}
        start = AlertAction(verb="start", label="Start the agent", method="PUT", path=agent_path, body=spec)
        return (Choice(start, f"greenroom agent start {facts.role_path}"),)
    if facts.kind == UNATTENDED and facts.role.kind == CUSTOM:
        return ()
    why = AlertAction(verb="why", label="Show the role's status", method="GET", path=room_path, body=None)
    restart = AlertAction(
        verb="restart", label="Restart the agent", method="POST", path=f"{agent_path}/restart", body={}
    )
    return (
        Choice(why, f"greenroom why {facts.role_path}"),
        Choice(restart, f"greenroom agent restart {facts.role_path}"),
    )
