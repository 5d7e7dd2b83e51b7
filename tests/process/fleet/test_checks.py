"""Each check of a fleet detects a log that was forged against it, and none rejects an unchanged one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.process.fleet import checks
from tests.process.fleet.checks import Check, violations
from tests.process.fleet.diaries import AgentRun
from tests.process.fleet.observation import Event, HolderFailure, Observation, RestartBudget, Silence, seconds

TASK, CONNECTION = "t1", "conn-2"
HOUR = "2026-01-01T00:00:"


def event(pos: int, second: float, kind: str, cause: str = "", **data: Any) -> Event:
    defaults = {"role": "r0", "task": TASK, "attempt": 1, "connection_id": CONNECTION, "machine": "m0"}
    defaults |= {"intended": False, "until": None} | data
    at = f"{HOUR}{second:06.3f}+00:00"
    return {
        "pos": pos,
        "seq": pos,
        "stream": "room",
        "type": kind,
        "at": at,
        "cause": cause,
        "data": {"at": at} | defaults,
    }


def at(second: float) -> float:
    return seconds(f"{HOUR}{second:06.3f}+00:00")


def run(attempt: int, began: float, last: float, end: str | None = None, machine: str = "m0") -> AgentRun:
    return AgentRun(TASK, attempt, machine, "r0", CONNECTION, 40 + attempt, at(began), at(last), end)


def unchanged() -> Observation:
    """A task whose first run was killed and whose second run succeeded, on a machine that was silent once."""
    entries: dict[int, tuple[float, str, dict[str, Any]]] = {
        1: (1, "participant.joined", {"epoch": 1}),
        2: (1, "task.opened", {}),
        3: (2, "task.claimed", {"attempt": 1}),
        4: (2.1, "task.started", {"attempt": 1}),
        5: (2.2, "agent.started", {"attempt": 1}),
        6: (10, "agent.exited", {"attempt": 1, "until": f"{HOUR}12.000+00:00"}),
        7: (10, "task.released", {"attempt": 1}),
        8: (12, "participant.joined", {"epoch": 2}),
        9: (12.1, "task.claimed", {"attempt": 2}),
        10: (12.2, "agent.started", {"attempt": 2}),
        11: (30, "task.completed", {"attempt": 2, "accepted_attempt": 2}),
        12: (30, "agent.exited", {"attempt": 2, "intended": True}),
    }
    return Observation(
        events=[event(pos, second, kind, **data) for pos, (second, kind, data) in entries.items()],
        tasks={TASK: {"status": "completed", "accepted_attempt": 2, "result": f"did {TASK} in attempt 2"}},
        runs=[run(1, 2.2, 9.9), run(2, 12.3, 29.9, "ends")],
        answered=[TASK],
        silences=[Silence("m0", at(15), at(25))],
        failures=[HolderFailure(TASK, 1, at(9.9))],
        budget=RestartBudget(failures_max=2, window_s=5),
    )


SILENT_FOR = "no heartbeat of its daemon for {} s (limit 4 s)"


def silent(
    silent_s: float = 4.0, back: float = 57.0, agent_back: float = 57.0, released_after_s: float = 2.0
) -> Observation:
    """The same; then the machine is silent for so long, its agent expires and loses its task, and both come back."""
    with_it = "machine m0 disconnected: " + SILENT_FOR.format(silent_s)
    entries: list[tuple[float, str, str, dict[str, Any]]] = [
        (0.5, "machine.reconnected", "its daemon was started", {"machine": "m0", "incarnation": "i1"}),
        (40, "task.claimed", "", {"task": "t2", "attempt": 1}),
        (50, "machine.disconnected", SILENT_FOR.format(silent_s), {"machine": "m0", "incarnation": "i1"}),
        (50, "participant.expired", with_it, {"machine": "m0"}),
        (50 + released_after_s, "task.released", "", {"task": "t2", "attempt": 1}),
        (back, "machine.reconnected", "heartbeats resumed", {"machine": "m0", "incarnation": "i1"}),
        (agent_back, "participant.rejoined", "machine m0 reconnected", {"machine": "m0"}),
    ]
    observed = unchanged()
    for second, kind, cause, data in entries:
        observed = with_event(observed, second, kind, cause, **data)
    return replace(observed, failures=[*observed.failures, HolderFailure("t2", 1, at(45), silent_s=2.0)])


def with_event(observed: Observation, second: float, kind: str, cause: str = "", **data: Any) -> Observation:
    """The log with one more event at its end."""
    return replace(observed, events=[*observed.events, event(len(observed.events) + 1, second, kind, cause, **data)])


def changed(observed: Observation, pos: int, **data: Any) -> Observation:
    """The log with one event's data changed."""
    events = [each if each["pos"] != pos else each | {"data": each["data"] | data} for each in observed.events]
    return replace(observed, events=events)


def moved(observed: Observation, pos: int, second: float) -> Observation:
    """The log with one event at another instant."""
    events = [each if each["pos"] != pos else each | {"at": f"{HOUR}{second:06.3f}+00:00"} for each in observed.events]
    return replace(observed, events=events)


def superseded(by: str | None, is_requested: bool = False) -> Observation:
    """A participant of a machine, or a user (None), supersedes the present one."""
    observed = with_event(unchanged(), 40, "agent.configured", generation=1) if is_requested else unchanged()
    observed = with_event(observed, 41, "participant.superseded", machine="m0", epoch=2)
    return with_event(observed, 41, "participant.joined", connection_id="conn-3", machine=by, epoch=3)


def failed_runs(count: int) -> Observation:
    observed = unchanged()
    for number in range(count):
        observed = with_event(observed, 40 + number, "agent.exited", task=None, attempt=None, role="r1")
    return observed


FORGED: list[tuple[Check, Observation]] = [
    (checks.each_attempt_has_one_result, changed(unchanged(), 11, accepted_attempt=1)),
    (checks.each_attempt_has_one_result, with_event(unchanged(), 31, "task.completed", attempt=2, accepted_attempt=2)),
    (checks.numbers_only_rise, changed(unchanged(), 8, epoch=1)),
    (checks.numbers_only_rise, changed(unchanged(), 9, attempt=3)),
    (checks.numbers_only_rise, unchanged().without(lambda each: each["pos"] == 2)),
    (checks.failed_holders_release_tasks, unchanged().without(lambda each: each["pos"] == 7)),
    (checks.failed_holders_release_tasks, unchanged().without(lambda each: each["pos"] == 6)),
    (checks.failed_holders_release_tasks, replace(unchanged(), failures=[HolderFailure(TASK, 1, at(10.2))])),
    (checks.failed_holders_release_tasks, moved(unchanged(), 7, 10.5)),
    (checks.failed_holders_release_tasks, silent(released_after_s=1.5)),
    (checks.failed_holders_release_tasks, silent().without(lambda each: each["type"] == "participant.expired")),
    (checks.nothing_is_lost, replace(unchanged(), answered=[TASK, "t2"])),
    (checks.nothing_is_lost, replace(unchanged(), tasks={TASK: unchanged().tasks[TASK] | {"result": "did something"}})),
    (checks.silence_changes_no_run, replace(unchanged(), silences=[Silence("m0", at(11), at(25))])),
    (checks.silence_changes_no_run, replace(unchanged(), silences=[Silence("m0", at(5), at(11))])),
    (checks.silence_changes_no_run, replace(unchanged(), silences=[Silence("m0", at(12.29), at(25))])),
    (checks.silence_changes_no_run, replace(unchanged(), silences=[Silence("m0", at(5), at(9.91))])),
    (checks.runs_begin_in_held_attempts, replace(unchanged(), runs=[run(1, 10.1, 10.2)])),
    (checks.runs_begin_in_held_attempts, replace(unchanged(), runs=[run(1, 1.9, 9.9)])),
    (checks.runs_begin_in_held_attempts, replace(unchanged(), runs=[*unchanged().runs, run(3, 40, 41, "ends")])),
    (checks.expired_participants_were_silent, silent(silent_s=3.9)),
    (checks.expired_participants_were_silent, with_event(unchanged(), 40, "participant.expired", "a whim")),
    (checks.machines_reconnect_with_agents, silent(agent_back=58.0)),
    (
        checks.machines_reconnect_with_agents,
        with_event(silent(), 59, "machine.reconnected", machine="m0", incarnation="i1"),
    ),
    (checks.machines_reconnect_with_agents, with_event(unchanged(), 59, "machine.disconnected", machine="m0")),
    (checks.takeovers_were_requested, superseded(by="m0")),
    (checks.restarts_stay_in_budget, changed(unchanged(), 6, until=f"{HOUR}14.000+00:00")),
    (checks.restarts_stay_in_budget, failed_runs(3)),
    (checks.no_attempt_runs_twice, replace(unchanged(), runs=[*unchanged().runs, run(2, 12.4, 13, machine="m1")])),
    (checks.no_attempt_runs_twice, replace(unchanged(), runs=[run(1, 2.2, 12.5), run(2, 12.3, 29.9, "ends")])),
    (checks.no_attempt_runs_twice, replace(unchanged(), runs=[run(1, 2.2, 11.0), run(2, 12.3, 29.9, "ends")])),
    (checks.reports_come_once_and_in_order, with_event(unchanged(), 31, "agent.exited", attempt=2, intended=True)),
    (checks.reports_come_once_and_in_order, with_event(unchanged(), 31, "agent.started", attempt=1)),
    (checks.reports_come_once_and_in_order, changed(unchanged(), 12, at=f"{HOUR}11.000+00:00")),
]


@pytest.mark.parametrize(
    "observed",
    [unchanged(), silent(), superseded(by=None), superseded(by="m1", is_requested=True)],
    ids=["killed-run", "silent-machine", "takeover-by-user", "moved-role"],
)
def test_unchanged_log_has_no_violation(observed: Observation) -> None:
    assert [] == violations(observed)


@pytest.mark.parametrize(("check", "forged"), FORGED, ids=[f"{n}-{each[0].__name__}" for n, each in enumerate(FORGED)])
def test_check_detects_forged_log(check: Check, forged: Observation) -> None:
    assert list(check(forged))


def test_every_check_has_a_forged_log() -> None:
    assert set(checks.CHECKS) == {check for check, _ in FORGED}
