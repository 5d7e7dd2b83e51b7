"""A role is moved to another machine and back, while it works: its task goes along, and never runs in two places."""

from __future__ import annotations

import time

import pytest

from tests.acceptance.fleet.diaries import Run
from tests.acceptance.fleet.evidence import Silence
from tests.acceptance.fleet.fleet import HEALED_WITHIN_S, TAKEOVER_S, TTL_S, Fleet
from tests.acceptance.fleet.healing import RUN_AGAIN_WITHIN_S, report
from tests.acceptance.fleet.machine import Machine
from tests.acceptance.processes import is_alive
from tests.acceptance.waiting import wait_until

pytestmark = pytest.mark.process


def move(fleet: Fleet, run: Run, to: Machine, fault: str, bound_s: float) -> Run:
    """Wish the run's role onto a machine, and see that its task is run there in time."""
    moved_at = time.time()
    fleet.wish(run.role, to)
    newer = fleet.diaries.wait_for(run.task, run.attempt + 1)
    assert to.name == newer.machine
    report(f"{fault}: its task runs on the other", newer.began_at - moved_at, bound_s)
    return newer


def test_from_a_living_machine_and_back(fleet: Fleet) -> None:
    one, other = fleet.machines
    here, *_ = fleet.begin_all("until:done")
    there = move(fleet, here, other, "a role moved from a living machine", RUN_AGAIN_WITHIN_S)
    assert not is_alive(here.pid)
    again = move(fleet, there, one, "a role moved from a living machine", RUN_AGAIN_WITHIN_S)
    assert not is_alive(there.pid)
    accepted = fleet.finish("done")
    assert [[again.attempt], [1], [1], [1]] == [accepted[role] for role in fleet.roles]
    assert 0 == fleet.house.task(here.task)["deaths"]
    fleet.check()


def test_from_a_machine_that_stands_still_and_back(fleet: Fleet) -> None:
    one, other = fleet.machines
    here, *_ = fleet.begin_all("until:done")
    frozen_at = time.time()
    one.freeze()
    time.sleep(0.5)
    bound_s = TAKEOVER_S + RUN_AGAIN_WITHIN_S
    there = move(fleet, here, other, "a role moved from a machine that stands still", bound_s)
    assert is_alive(here.pid), "nobody could stop it"
    fleet.silences.append(Silence(one.name, frozen_at, time.time()))
    one.thaw()
    wait_until(lambda: not is_alive(here.pid), "the older run is stopped", HEALED_WITHIN_S + TTL_S)
    fleet.heals(time.monotonic())
    move(fleet, there, one, "a role moved from a living machine", RUN_AGAIN_WITHIN_S)
    accepted = fleet.finish("done")
    assert [[3], [1], [1], [1]] == [accepted[role] for role in fleet.roles]
    fleet.check()
