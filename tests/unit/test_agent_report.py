"""What each kind of report does, for every state of the participant, machine, role and task that it is about."""

from typing import Any

import msgspec
import pytest

from greenroom.domain import agent_report
from greenroom.domain.agent_report import (
    ClearRestartHold,
    CloseParticipant,
    EndTakeoverHolds,
    RecordReport,
    ReleaseTask,
    ReportEffect,
    ReportSubject,
    SetRestartHold,
    decide_effects,
)
from greenroom.domain.machine import Machine
from greenroom.domain.participant import Participant
from greenroom.domain.role import Role
from greenroom.domain.room import Room
from greenroom.domain.task import STATES, Task
from greenroom.wire.requests import AgentReport

ROOM = Room(
    id="room_1", name="r", status="open", entry_role="builder", max_requests=1, roles=("builder",), created_at="t0"
)
ROLE = Role(room="room_1", name="builder", position=0, kind="remote", machine="m1", epoch=2, generation=3)
MACHINE = Machine(
    id="m1", name="mac", daemon_connected=True, harnesses=(), labels={}, assignments_version=1, created_at="t0"
)
TASK = Task(
    id="task_1",
    room="room_1",
    request="task_1",
    target_role="builder",
    status="in_progress",
    text="do it",
    claimed_by="A",
    attempt=1,
    created_at="t0",
)
BACKOFF_UNTIL = "the longest backoff"


def participant(epoch: int, status: str) -> Participant:
    return Participant(
        room="room_1", role="builder", connection_id="A", epoch=epoch, status=status, machine="m1", joined_at="t0"
    )


PARTICIPANTS: dict[str, Participant | None] = {
    "none": None,
    "present": participant(2, "present"),
    "absent": participant(2, "absent"),
    "closed": participant(2, "closed"),
    "older": participant(1, "absent"),
    "older closed": participant(1, "closed"),
}
OPEN, ENDED = ("present", "absent"), ("none", "closed", "older", "older closed")

KINDS: dict[str, dict[str, Any]] = {
    "started": {"kind": "started"},
    "failed": {"kind": "exited", "code": 1},
    "stopped": {"kind": "exited", "code": 0, "intended": True},
    "crash_looping": {"kind": "crash_looping"},
    "paused": {"kind": "paused"},
    "recovered": {"kind": "recovered"},
}

SUBJECTS: dict[str, dict[str, Any]] = {
    "assigned": {},
    "assigned elsewhere": {"role": msgspec.structs.replace(ROLE, machine="m2")},
    "run by a user": {"role": msgspec.structs.replace(ROLE, kind="custom")},
    "role stopped": {"role": msgspec.structs.replace(ROLE, desired="stopped")},
    "room closed": {"room": msgspec.structs.replace(ROOM, status="closed")},
    "crash-looping": {"role": msgspec.structs.replace(ROLE, hold="crash_looping")},
    "paused": {"role": msgspec.structs.replace(ROLE, hold="paused")},
    "backing off": {"role": msgspec.structs.replace(ROLE, hold="backing_off")},
}
ASSIGNED = ("assigned", "role stopped", "room closed", "crash-looping", "paused", "backing off")
NOT_ASSIGNED = ("assigned elsewhere", "run by a user")
NOT_WANTED = ("assigned elsewhere", "run by a user", "role stopped", "room closed")


def make_report(**fields: Any) -> AgentReport:
    return AgentReport(**({"id": "x1", "room": "r", "role": "builder", "connection_id": "A"} | fields))


def make_subject(participant: str = "present", **fields: Any) -> ReportSubject:
    facts = {"room": ROOM, "role": ROLE, "machine": MACHINE, "participant": PARTICIPANTS[participant]}
    return ReportSubject(**(facts | {"backoff_until": BACKOFF_UNTIL} | fields))


def describe(effect: ReportEffect) -> str:
    """An effect in one word, without its texts."""
    match effect:
        case RecordReport():
            return "record"
        case EndTakeoverHolds():
            return "end-takeover"
        case ReleaseTask(end_cause):
            return f"release:{end_cause}"
        case CloseParticipant(end_cause):
            return f"close:{end_cause}"
        case SetRestartHold(hold):
            return f"hold:{hold}"
        case ClearRestartHold():
            return "clear"


TABLE: list[tuple[str, tuple[str, ...], tuple[str, ...], str]] = [
    # report, subject, participant, effects
    ("started", tuple(SUBJECTS), tuple(PARTICIPANTS), "record"),
    # A failure ends the participant, wherever its role is assigned; only the role's own daemon sets its hold.
    ("failed", ("assigned", "role stopped", "room closed"), OPEN, "record end-takeover close:exited hold:backing_off"),
    ("failed", ("paused", "backing off"), OPEN, "record end-takeover close:exited hold:backing_off"),
    ("failed", ("crash-looping",), OPEN, "record end-takeover close:exited hold:crash_looping"),
    ("failed", NOT_ASSIGNED, OPEN, "record end-takeover close:exited"),
    # The hold that the end led to came before its `exited`, and stays.
    ("failed", ("crash-looping", "paused"), ("closed",), "record end-takeover"),
    (
        *("failed", ("assigned", "role stopped", "room closed", "backing off"), ("closed",)),
        "record end-takeover hold:backing_off",
    ),
    ("failed", NOT_ASSIGNED, ("closed",), "record end-takeover"),
    ("failed", tuple(SUBJECTS), ("none", "older", "older closed"), "record end-takeover"),
    # A resident that is stopped between tasks keeps its participant, unless its agent is no longer wanted here.
    ("stopped", ("assigned", "crash-looping", "paused", "backing off"), OPEN, "record end-takeover"),
    ("stopped", NOT_WANTED, OPEN, "record end-takeover close:stopped"),
    ("stopped", tuple(SUBJECTS), ENDED, "record end-takeover"),
    ("crash_looping", ASSIGNED, OPEN, "record close:exited hold:crash_looping"),
    ("crash_looping", ASSIGNED, ("closed",), "record hold:crash_looping"),
    ("crash_looping", NOT_ASSIGNED, ("present", "absent", "closed"), "record"),
    ("crash_looping", tuple(SUBJECTS), ("none", "older", "older closed"), "record"),
    ("paused", ASSIGNED, OPEN, "record close:stopped hold:paused"),
    ("paused", ASSIGNED, ("closed",), "record hold:paused"),
    ("paused", NOT_ASSIGNED, ("present", "absent", "closed"), "record"),
    ("paused", tuple(SUBJECTS), ("none", "older", "older closed"), "record"),
    ("recovered", ("crash-looping",), ("present", "absent", "closed"), "record clear"),
    ("recovered", ("crash-looping",), ("none", "older", "older closed"), "record"),
    ("recovered", tuple(name for name in SUBJECTS if name != "crash-looping"), tuple(PARTICIPANTS), "record"),
]
CASES = [
    (report, subject, party, effects)
    for report, subjects, parties, effects in TABLE
    for subject in subjects
    for party in parties
]


@pytest.mark.parametrize(("report", "subject", "party", "effects"), CASES)
def test_effects(report: str, subject: str, party: str, effects: str) -> None:
    decided = decide_effects(make_report(**KINDS[report]), make_subject(party, **SUBJECTS[subject]))

    assert effects == " ".join(describe(effect) for effect in decided)


def test_table_is_complete() -> None:
    expected = [(report, subject, party) for report in KINDS for subject in SUBJECTS for party in PARTICIPANTS]

    assert sorted(expected) == sorted(case[:3] for case in CASES)


@pytest.mark.parametrize("report", KINDS)
def test_earlier_generation_changes_no_hold(report: str) -> None:
    """Even under a crash-looping hold, which `recovered` would clear."""
    subject = make_subject(role=msgspec.structs.replace(ROLE, hold="crash_looping"))
    later = decide_effects(make_report(**KINDS[report], generation=2), subject)
    current = decide_effects(make_report(**KINDS[report], generation=3), subject)

    assert [] == [effect for effect in later if isinstance(effect, SetRestartHold | ClearRestartHold)]
    assert current == decide_effects(make_report(**KINDS[report]), subject)


HELD = ("acknowledged", "in_progress")
TASK_FACTS: list[tuple[dict[str, Any], Task | None, bool]] = [
    # report, task, is released
    *(({}, msgspec.structs.replace(TASK, status=status), status in HELD) for status in STATES),
    ({}, None, False),
    ({"attempt": None}, TASK, False),
    ({"attempt": 2}, TASK, False),
    ({"connection_id": "B"}, TASK, False),
    ({}, msgspec.structs.replace(TASK, claimed_by=None), False),
    ({}, msgspec.structs.replace(TASK, room="room_2"), False),
]


@pytest.mark.parametrize(("fields", "task", "is_released"), TASK_FACTS)
@pytest.mark.parametrize("report", KINDS)
def test_task_released_with_its_attempt(
    report: str, fields: dict[str, Any], task: Task | None, is_released: bool
) -> None:
    """The process of an attempt has exited: whether its participant is still there does not matter."""
    body = make_report(**({"task": "task_1", "attempt": 1} | KINDS[report] | fields))
    releases = [
        [describe(effect) for effect in decide_effects(body, make_subject(party, task=task))]
        for party in ("present", "older closed")
    ]

    expected = {"failed": ["release:exited"], "stopped": ["release:stopped"]}.get(report, []) if is_released else []
    for effects in releases:
        assert expected == [effect for effect in effects if effect.startswith("release")]


def test_task_released_before_its_holder_ends() -> None:
    """Otherwise the end of the participant would release it, without the command's last output."""
    body = make_report(kind="exited", code=1, task="task_1", attempt=1, detail="Traceback\nKeyError")
    _, _, release, close, _ = decide_effects(body, make_subject(task=TASK))

    assert ReleaseTask("exited", "Traceback\nKeyError", False) == release
    assert CloseParticipant("exited", "exited with code 1", False) == close


PROBES: list[tuple[bool | None, str | None, str, bool]] = [
    # as reported, the role's hold, participant, is a probe run
    (None, "crash_looping", "present", True),
    (None, "crash_looping", "absent", True),
    (None, "crash_looping", "closed", False),
    (None, "crash_looping", "older", False),
    (None, "crash_looping", "none", False),
    (None, "backing_off", "present", False),
    (None, None, "present", False),
    (True, None, "none", True),
    (False, "crash_looping", "present", False),
]


@pytest.mark.parametrize(("reported", "hold", "party", "is_probe"), PROBES)
def test_probe_run(reported: bool | None, hold: str | None, party: str, is_probe: bool) -> None:
    body = make_report(kind="exited", code=1, task="task_1", attempt=1, probe=reported)
    subject = make_subject(party, task=TASK, role=msgspec.structs.replace(ROLE, hold=hold))
    effects = [effect for effect in decide_effects(body, subject) if hasattr(effect, "is_probe")]

    assert [is_probe] * len(effects) == [effect.is_probe for effect in effects]
    assert RecordReport(intended=False, is_probe=is_probe) == effects[0]


HOLDS: list[tuple[dict[str, Any], dict[str, Any], str | None, SetRestartHold]] = [
    # report, role, until, hold
    ({"kind": "exited", "code": 1}, {}, "u", SetRestartHold("backing_off", "u", "exited with code 1")),
    ({"kind": "exited", "code": 1}, {}, None, SetRestartHold("backing_off", BACKOFF_UNTIL, "exited with code 1")),
    (
        {"kind": "exited", "signal": 9},
        {"hold": "crash_looping", "hold_until": "v"},
        None,
        SetRestartHold("crash_looping", "v", "killed by signal 9"),
    ),
    (
        {"kind": "exited", "signal": 9},
        {"hold": "crash_looping", "hold_until": "v"},
        "u",
        SetRestartHold("crash_looping", "u", "killed by signal 9"),
    ),
    ({"kind": "exited", "probe": True}, {}, None, SetRestartHold("crash_looping", None, "exited")),
    ({"kind": "crash_looping", "detail": "3 ends\nmore"}, {}, "u", SetRestartHold("crash_looping", "u", "3 ends")),
    ({"kind": "crash_looping"}, {"last_exit": "code 1"}, None, SetRestartHold("crash_looping", None, "code 1")),
    ({"kind": "crash_looping"}, {}, None, SetRestartHold("crash_looping", None, "crash_looping")),
    ({"kind": "paused", "detail": "no login"}, {"last_exit": "x"}, "u", SetRestartHold("paused", "u", "no login")),
]


@pytest.mark.parametrize(("fields", "role", "until", "hold"), HOLDS)
def test_restart_hold(fields: dict[str, Any], role: dict[str, Any], until: str | None, hold: SetRestartHold) -> None:
    subject = make_subject(role=msgspec.structs.replace(ROLE, **role), until=until)

    assert hold == decide_effects(make_report(**fields), subject)[-1]


EXITS: list[tuple[dict[str, Any], str]] = [
    ({"code": 3}, "exited with code 3"),
    ({"code": 3, "signal": 9}, "killed by signal 9"),
    ({"detail": "  lost\nmore"}, "lost"),
    ({"detail": " \n"}, "exited"),
    ({}, "exited"),
    ({"intended": True, "code": 0}, "exited as expected"),
    ({"intended": True, "code": 1}, "stopped as requested"),
    ({"intended": True, "signal": 15}, "stopped as requested"),
    ({"intended": None, "code": 0}, "exited with code 0"),
    ({"kind": "paused"}, "paused"),
    ({"kind": "paused", "detail": "no login\nmore"}, "no login"),
]


@pytest.mark.parametrize(("fields", "text"), EXITS)
def test_exit_described(fields: dict[str, Any], text: str) -> None:
    assert text == agent_report.describe_exit(make_report(**({"kind": "exited"} | fields)))
