"""Processes of a fleet are killed with SIGKILL: all tasks are still done, and once."""

from __future__ import annotations

import time

import pytest

from tests.acceptance.fleet.conftest import Build
from tests.acceptance.fleet.fleet import Fleet, kill, leader_of
from tests.acceptance.fleet.healing import report, runs_again
from tests.acceptance.processes import is_alive
from tests.waiting import wait_until

pytestmark = pytest.mark.process


def test_an_agent_and_a_wrapper(fleet: Fleet) -> None:
    one, other, *_ = fleet.begin_all("fork until:done")
    runs_again(fleet, "kill -9 of an agent", one, kill(one.pid))
    runs_again(fleet, "kill -9 of a shim", other, kill(leader_of(other)))
    accepted = fleet.finish("done")
    assert [[2], [2], [1], [1]] == [accepted[role] for role in fleet.roles]
    fleet.check()


def test_every_daemon_and_then_the_server(fleet: Fleet) -> None:
    """Runs continue; those that ended meanwhile are reported, and run again if they failed. Nothing runs twice."""
    tasks = [fleet.send(role, f"until:{gate}") for role, gate in zip(fleet.roles, "abba", strict=True)]
    finishes, dies, *_ = [fleet.diaries.wait_for(task) for task in tasks]
    for machine in fleet.machines:
        machine.kill()
    fleet.diaries.open_gate("a")
    kill(dies.pid)
    wait_until(lambda: not is_alive(finishes.pid), "a run finishes while no daemon runs")
    began_at = time.monotonic()
    for machine in fleet.machines:
        machine.launch()
    report("kill -9 of every daemon: all online after their start", fleet.heals(began_at))
    fleet.diaries.wait_for(dies.task, 2)

    server, sittings = fleet.house.server, fleet.sittings()
    assert server is not None
    server.kill()
    fleet.house.start_server()
    report("kill -9 of the server: all online after its return", fleet.heals(time.monotonic()))
    assert sittings == fleet.sittings(), "no agent had to join again"
    assert 0 == fleet.house.api.count("machine.disconnected"), (
        "no machine is disconnected because the server was killed"
    )
    accepted = fleet.finish("a", "b")
    assert [[1], [2], [1], [1]] == [accepted[role] for role in fleet.roles]
    assert [1, 1, 2, 1, 1] == [run.attempt for task in tasks for run in fleet.diaries.runs(task)]
    fleet.check()


def test_all_of_it_at_once(fleet: Fleet) -> None:
    runs = fleet.begin_all("until:done")
    assert fleet.house.server is not None
    daemons = [machine.daemon.pid for machine in fleet.machines if machine.daemon is not None]
    kill(fleet.house.server.pid, *daemons, *(leader_of(run) for run in runs), *(run.pid for run in runs))
    for started in (fleet.house.server, *(machine.daemon for machine in fleet.machines)):
        assert started is not None
        started.wait()
    fleet.house.start_server()
    began_at = time.monotonic()
    for machine in fleet.machines:
        machine.launch()
    report("kill -9 of all at once: all online after the start", fleet.heals(began_at))
    for run in runs:
        fleet.diaries.wait_for(run.task, 2)
    accepted = fleet.finish("done")
    assert [[2]] * len(runs) == [accepted[role] for role in fleet.roles]
    fleet.check()


def test_twenty_agents_in_one_second(build: Build) -> None:
    fleet = build(machines=2)
    fleet.open(agents=20)
    runs = fleet.begin_all("until:done")
    killed_at = kill(*(run.pid for run in runs))
    for run in runs:
        runs_again(fleet, "20 agents killed at once", run, killed_at)
    accepted = fleet.finish("done")
    assert [[2]] * len(runs) == [accepted[role] for role in fleet.roles]
    fleet.check()
