"""A role is moved to another machine and back while it works: its task moves along, and never runs on both."""

from __future__ import annotations

import time

import pytest

from tests.acceptance.fleet.checks import GRAIN_S
from tests.acceptance.fleet.conftest import Build
from tests.acceptance.fleet.diaries import Run
from tests.acceptance.fleet.evidence import seconds
from tests.acceptance.fleet.fleet import LAPSING, ROUND_TRIPS_S, SWEEP, TAKEOVER_GRACE, TAKEOVER_S, Fleet
from tests.acceptance.fleet.healing import report
from tests.acceptance.fleet.machine import Machine
from tests.acceptance.processes import is_alive
from tests.waiting import wait_until

pytestmark = pytest.mark.process


def move(fleet: Fleet, run: Run, to: Machine, fault: str, promised_s: float | None = None) -> Run:
    """Assign the run's role to a machine, and wait until its task runs there; return the new run."""
    moved_at = time.time()
    fleet.wish(run.role, to)
    newer = fleet.diaries.wait_for(run.task, run.attempt + 1)
    assert to.name == newer.machine
    report(f"{fault}: its task runs on the other", newer.began_at - moved_at, promised_s)
    return newer


def test_from_a_living_machine_and_back(fleet: Fleet) -> None:
    """The task waits only for the report that its old run has stopped: the timeout of the takeover is far longer."""
    one, other = fleet.machines
    here, *_ = fleet.begin_all("until:done")
    there = move(fleet, here, other, "a role moved from a running machine")
    assert not is_alive(here.pid)
    again = move(fleet, there, one, "a role moved from a running machine")
    assert not is_alive(there.pid)
    accepted = fleet.finish("done")
    assert [[again.attempt], [1], [1], [1]] == [accepted[role] for role in fleet.roles]
    assert 0 == fleet.house.task(here.task)["deaths"]
    fleet.check()


def test_from_a_machine_that_stands_still_and_back(build: Build) -> None:
    """The stop of the old run cannot be reported, so the task waits for the timeout of the takeover."""
    fleet = build()
    fleet.house.of_server |= {name: LAPSING[name] for name in (TAKEOVER_GRACE, SWEEP)}
    fleet.open(agents=4)
    one, other = fleet.machines
    here, *_ = fleet.begin_all("until:done")
    frozen_at = time.time()
    one.freeze()
    there = move(fleet, here, other, "a role moved from a suspended machine", TAKEOVER_S + ROUND_TRIPS_S)
    assert is_alive(here.pid), "the suspended daemon could not stop it"
    [pushed] = fleet.told("participant.superseded", connection_id=here.connection)
    [claimed] = fleet.told("task.claimed", task=here.task, attempt=2)
    assert seconds(claimed["at"]) - seconds(pushed["at"]) >= TAKEOVER_S - GRAIN_S
    fleet.end_silence(one, frozen_at)
    one.thaw()
    wait_until(lambda: not is_alive(here.pid), "the older run is stopped")
    fleet.heals(time.monotonic())
    move(fleet, there, one, "a role moved from a running machine")
    accepted = fleet.finish("done")
    assert [[3], [1], [1], [1]] == [accepted[role] for role in fleet.roles]
    fleet.check()
