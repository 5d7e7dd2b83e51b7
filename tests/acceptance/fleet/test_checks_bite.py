"""Each check of a fleet detects a log that was forged against it, and none rejects an unchanged one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.acceptance.fleet import checks
from tests.acceptance.fleet.checks import Check, complaints
from tests.acceptance.fleet.diaries import Run
from tests.acceptance.fleet.evidence import Budget, Death, Event, Evidence, Silence, seconds

TASK, SEAT = "t1", "conn-2"
HOUR = "2026-01-01T00:00:"


def event(pos: int, second: float, kind: str, cause: str = "", **data: Any) -> Event:
    told = {"role": "r0", "task": TASK, "attempt": 1, "connection_id": SEAT, "machine": "m0"}
    told |= {"intended": False, "until": None} | data
    at = f"{HOUR}{second:06.3f}+00:00"
    return {"pos": pos, "seq": pos, "stream": "room", "type": kind, "at": at, "cause": cause, "data": {"at": at} | told}


def at(second: float) -> float:
    return seconds(f"{HOUR}{second:06.3f}+00:00")


def run(attempt: int, began: float, last: float, end: str | None = None, machine: str = "m0") -> Run:
    return Run(TASK, attempt, machine, "r0", SEAT, 40 + attempt, at(began), at(last), end)


def honest() -> Evidence:
    """A task whose first run was killed and whose second run succeeded, on a machine that was silent once."""
    said: dict[int, tuple[float, str, dict[str, Any]]] = {
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
    return Evidence(
        events=[event(pos, second, kind, **data) for pos, (second, kind, data) in said.items()],
        tasks={TASK: {"status": "completed", "accepted_attempt": 2, "result": f"did {TASK} in attempt 2"}},
        runs=[run(1, 2.2, 9.9), run(2, 12.3, 29.9, "ends")],
        answered=[TASK],
        silences=[Silence("m0", at(15), at(25))],
        deaths=[Death(TASK, 1, at(9.9))],
        budget=Budget(ends=2, window_s=5),
    )


SILENT_FOR = "no heartbeat of its daemon for {} s (limit 4 s)"


def silent(silent_s: float = 4.0, back: float = 57.0, agent_back: float = 57.0, patience_s: float = 2.0) -> Evidence:
    """The same; then the machine is silent for so long, its agent expires and loses its task, and both come back."""
    with_it = "machine m0 disconnected: " + SILENT_FOR.format(silent_s)
    said: list[tuple[float, str, str, dict[str, Any]]] = [
        (0.5, "machine.reconnected", "its daemon was started", {"machine": "m0", "incarnation": "i1"}),
        (40, "task.claimed", "", {"task": "t2", "attempt": 1}),
        (50, "machine.disconnected", SILENT_FOR.format(silent_s), {"machine": "m0", "incarnation": "i1"}),
        (50, "participant.expired", with_it, {"machine": "m0"}),
        (50 + patience_s, "task.released", "", {"task": "t2", "attempt": 1}),
        (back, "machine.reconnected", "heartbeats resumed", {"machine": "m0", "incarnation": "i1"}),
        (agent_back, "participant.rejoined", "machine m0 reconnected", {"machine": "m0"}),
    ]
    seen = honest()
    for second, kind, cause, data in said:
        seen = with_event(seen, second, kind, cause, **data)
    return replace(seen, deaths=[*seen.deaths, Death("t2", 1, at(45), silent_s=2.0)])


def with_event(seen: Evidence, second: float, kind: str, cause: str = "", **data: Any) -> Evidence:
    """The log with one more event at its end."""
    return replace(seen, events=[*seen.events, event(len(seen.events) + 1, second, kind, cause, **data)])


def changed(seen: Evidence, pos: int, **data: Any) -> Evidence:
    """The log with one event's data changed."""
    events = [each if each["pos"] != pos else each | {"data": each["data"] | data} for each in seen.events]
    return replace(seen, events=events)


def moved(seen: Evidence, pos: int, second: float) -> Evidence:
    """The log with one event at another instant."""
    events = [each if each["pos"] != pos else each | {"at": f"{HOUR}{second:06.3f}+00:00"} for each in seen.events]
    return replace(seen, events=events)


def pushed_out(by: str | None, wished: bool = False) -> Evidence:
    """A participant of a machine, or a user (None), supersedes the present one."""
    seen = with_event(honest(), 40, "role.wished", generation=1) if wished else honest()
    seen = with_event(seen, 41, "participant.superseded", machine="m0", epoch=2)
    return with_event(seen, 41, "participant.joined", connection_id="conn-3", machine=by, epoch=3)


def ends(count: int) -> Evidence:
    seen = honest()
    for number in range(count):
        seen = with_event(seen, 40 + number, "agent.exited", task=None, attempt=None, role="r1")
    return seen


FORGED: list[tuple[Check, Evidence]] = [
    (checks.each_attempt_has_one_result, changed(honest(), 11, accepted_attempt=1)),
    (checks.each_attempt_has_one_result, with_event(honest(), 31, "task.completed", attempt=2, accepted_attempt=2)),
    (checks.numbers_only_rise, changed(honest(), 8, epoch=1)),
    (checks.numbers_only_rise, changed(honest(), 9, attempt=3)),
    (checks.numbers_only_rise, honest().without(lambda each: each["pos"] == 2)),
    (checks.the_dead_hold_nothing, honest().without(lambda each: each["pos"] == 7)),
    (checks.the_dead_hold_nothing, honest().without(lambda each: each["pos"] == 6)),
    (checks.the_dead_hold_nothing, replace(honest(), deaths=[Death(TASK, 1, at(10.2))])),
    (checks.the_dead_hold_nothing, moved(honest(), 7, 10.5)),
    (checks.the_dead_hold_nothing, silent(patience_s=1.5)),
    (checks.the_dead_hold_nothing, silent().without(lambda each: each["type"] == "participant.expired")),
    (checks.nothing_is_lost, replace(honest(), answered=[TASK, "t2"])),
    (checks.nothing_is_lost, replace(honest(), tasks={TASK: honest().tasks[TASK] | {"result": "did something"}})),
    (checks.silence_does_nothing, replace(honest(), silences=[Silence("m0", at(11), at(25))])),
    (checks.silence_does_nothing, replace(honest(), silences=[Silence("m0", at(5), at(11))])),
    (checks.silence_does_nothing, replace(honest(), silences=[Silence("m0", at(12.29), at(25))])),
    (checks.silence_does_nothing, replace(honest(), silences=[Silence("m0", at(5), at(9.91))])),
    (checks.runs_begin_on_the_word_that_holds, replace(honest(), runs=[run(1, 10.1, 10.2)])),
    (checks.runs_begin_on_the_word_that_holds, replace(honest(), runs=[run(1, 1.9, 9.9)])),
    (checks.runs_begin_on_the_word_that_holds, replace(honest(), runs=[*honest().runs, run(3, 40, 41, "ends")])),
    (checks.who_is_removed_was_silent, silent(silent_s=3.9)),
    (checks.who_is_removed_was_silent, with_event(honest(), 40, "participant.expired", "a whim")),
    (checks.machines_come_back_whole, silent(agent_back=58.0)),
    (checks.machines_come_back_whole, with_event(silent(), 59, "machine.reconnected", machine="m0", incarnation="i1")),
    (checks.machines_come_back_whole, with_event(honest(), 59, "machine.disconnected", machine="m0")),
    (checks.seats_are_taken_by_wish, pushed_out(by="m0")),
    (checks.restarts_stay_in_budget, changed(honest(), 6, until=f"{HOUR}14.000+00:00")),
    (checks.restarts_stay_in_budget, ends(3)),
    (checks.nothing_runs_twice, replace(honest(), runs=[*honest().runs, run(2, 12.4, 13, machine="m1")])),
    (checks.nothing_runs_twice, replace(honest(), runs=[run(1, 2.2, 12.5), run(2, 12.3, 29.9, "ends")])),
    (checks.nothing_runs_twice, replace(honest(), runs=[run(1, 2.2, 11.0), run(2, 12.3, 29.9, "ends")])),
    (checks.facts_come_once_and_in_order, with_event(honest(), 31, "agent.exited", attempt=2, intended=True)),
    (checks.facts_come_once_and_in_order, with_event(honest(), 31, "agent.started", attempt=1)),
    (checks.facts_come_once_and_in_order, changed(honest(), 12, at=f"{HOUR}11.000+00:00")),
]


@pytest.mark.parametrize("seen", [honest(), silent(), pushed_out(by=None), pushed_out(by="m1", wished=True)])
def test_an_honest_log_is_believed(seen: Evidence) -> None:
    assert [] == complaints(seen)


@pytest.mark.parametrize(("check", "forged"), FORGED, ids=[f"{n}-{each[0].__name__}" for n, each in enumerate(FORGED)])
def test_a_forged_log_is_not(check: Check, forged: Evidence) -> None:
    assert list(check(forged))


def test_every_check_is_shown_to_bite() -> None:
    assert set(checks.CHECKS) == {check for check, _ in FORGED}
