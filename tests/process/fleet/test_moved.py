"""A role is moved to another machine and back while it works: its task moves along, and never runs on both."""

from __future__ import annotations

import time

import pytest

from tests.process.fleet.checks import ROUNDING_S
from tests.process.fleet.conftest import BuildFleet
from tests.process.fleet.diaries import AgentRun
from tests.process.fleet.fleet import ROUND_TRIPS_S, SHORT_LEASES, SWEEP, TAKEOVER_GRACE, TAKEOVER_S, MachineFleet
from tests.process.fleet.machine import FleetMachine
from tests.process.fleet.observation import seconds
from tests.process.fleet.recovery import report
from tests.process.processes import is_alive
from tests.waiting import wait_until

pytestmark = pytest.mark.process


def move(fleet: MachineFleet, run: AgentRun, to: FleetMachine, fault: str, promised_s: float | None = None) -> AgentRun:
    """Assign the run's role to a machine, and wait until its task runs there; return the new run."""
    moved_at = time.time()
    fleet.assign(run.role, to)
    newer = fleet.diaries.wait_for(run.task, run.attempt + 1)
    assert to.name == newer.machine
    report(f"{fault}: its task runs on the other", newer.began_at - moved_at, promised_s)
    return newer


def test_move_from_running_machine_and_back(fleet: MachineFleet) -> None:
    """The task waits only for the report that its old run has stopped: the timeout of the takeover is far longer."""
    first, second = fleet.machines
    old_run, *_ = fleet.begin_all("until:done")
    new_run = move(fleet, old_run, second, "a role moved from a running machine")
    assert not is_alive(old_run.pid)
    third_run = move(fleet, new_run, first, "a role moved from a running machine")
    assert not is_alive(new_run.pid)
    accepted = fleet.finish("done")
    assert [[third_run.attempt], [1], [1], [1]] == [accepted[role] for role in fleet.roles]
    assert 0 == fleet.installation.task(old_run.task)["failures"]
    fleet.check()


def test_move_from_suspended_machine_and_back(build_fleet: BuildFleet) -> None:
    """The stop of the old run cannot be reported, so the task waits for the timeout of the takeover."""
    fleet = build_fleet()
    fleet.installation.server_settings |= {name: SHORT_LEASES[name] for name in (TAKEOVER_GRACE, SWEEP)}
    fleet.start(agents=4)
    first, second = fleet.machines
    old_run, *_ = fleet.begin_all("until:done")
    suspended_at = time.time()
    first.suspend()
    new_run = move(fleet, old_run, second, "a role moved from a suspended machine", TAKEOVER_S + ROUND_TRIPS_S)
    assert is_alive(old_run.pid), "the suspended daemon could not stop it"
    [superseded] = fleet.events_of("participant.superseded", connection_id=old_run.connection)
    [claimed] = fleet.events_of("task.claimed", task=old_run.task, attempt=2)
    assert seconds(claimed["at"]) - seconds(superseded["at"]) >= TAKEOVER_S - ROUNDING_S
    fleet.record_silence(first, suspended_at)
    first.resume()
    wait_until(lambda: not is_alive(old_run.pid), "the older run is stopped")
    fleet.wait_until_recovered(time.monotonic())
    move(fleet, new_run, first, "a role moved from a running machine")
    accepted = fleet.finish("done")
    assert [[3], [1], [1], [1]] == [accepted[role] for role in fleet.roles]
    fleet.check()
