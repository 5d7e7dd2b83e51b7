"""Processes of a fleet are killed with SIGKILL: all tasks are still done, and once."""

from __future__ import annotations

import time

import pytest

from tests.process.fleet.conftest import BuildFleet
from tests.process.fleet.fleet import MachineFleet, kill, leader_of
from tests.process.fleet.recovery import check_runs_again, report
from tests.process.processes import is_alive
from tests.waiting import wait_until

pytestmark = pytest.mark.process


def test_killed_agent_and_shim(fleet: MachineFleet) -> None:
    one, other, *_ = fleet.begin_all("fork until:done")
    check_runs_again(fleet, "kill -9 of an agent", one, kill(one.pid))
    check_runs_again(fleet, "kill -9 of a shim", other, kill(leader_of(other)))
    accepted = fleet.finish("done")
    assert [[2], [2], [1], [1]] == [accepted[role] for role in fleet.roles]
    fleet.check()


def test_killed_daemons_then_server(fleet: MachineFleet) -> None:
    """Runs continue; those that ended meanwhile are reported, and run again if they failed. Nothing runs twice."""
    tasks = [fleet.send(role, f"until:{gate}") for role, gate in zip(fleet.roles, "abba", strict=True)]
    finishes, killed, *_ = [fleet.diaries.wait_for(task) for task in tasks]
    for machine in fleet.machines:
        machine.kill()
    fleet.diaries.open_gate("a")
    kill(killed.pid)
    wait_until(lambda: not is_alive(finishes.pid), "a run finishes while no daemon runs")
    began_at = time.monotonic()
    for machine in fleet.machines:
        machine.launch()
    report("kill -9 of every daemon: all online after their start", fleet.wait_until_recovered(began_at))
    fleet.diaries.wait_for(killed.task, 2)

    server, connections = fleet.installation.server, fleet.connections()
    assert server is not None
    server.kill()
    fleet.installation.start_server()
    report("kill -9 of the server: all online after its return", fleet.wait_until_recovered(time.monotonic()))
    assert connections == fleet.connections(), "no agent had to join again"
    assert 0 == fleet.installation.api.count("machine.disconnected"), (
        "no machine is disconnected because the server was killed"
    )
    accepted = fleet.finish("a", "b")
    assert [[1], [2], [1], [1]] == [accepted[role] for role in fleet.roles]
    assert [1, 1, 2, 1, 1] == [run.attempt for task in tasks for run in fleet.diaries.runs(task)]
    fleet.check()


def test_all_killed_at_once(fleet: MachineFleet) -> None:
    runs = fleet.begin_all("until:done")
    assert fleet.installation.server is not None
    daemons = [machine.daemon.pid for machine in fleet.machines if machine.daemon is not None]
    kill(fleet.installation.server.pid, *daemons, *(leader_of(run) for run in runs), *(run.pid for run in runs))
    for started in (fleet.installation.server, *(machine.daemon for machine in fleet.machines)):
        assert started is not None
        started.wait()
    fleet.installation.start_server()
    began_at = time.monotonic()
    for machine in fleet.machines:
        machine.launch()
    report("kill -9 of all at once: all online after the start", fleet.wait_until_recovered(began_at))
    for run in runs:
        fleet.diaries.wait_for(run.task, 2)
    accepted = fleet.finish("done")
    assert [[2]] * len(runs) == [accepted[role] for role in fleet.roles]
    fleet.check()


def test_twenty_agents_killed_at_once(build_fleet: BuildFleet) -> None:
    fleet = build_fleet(machines=2)
    fleet.start(agents=20)
    runs = fleet.begin_all("until:done")
    killed_at = kill(*(run.pid for run in runs))
    for run in runs:
        check_runs_again(fleet, "20 agents killed at once", run, killed_at)
    accepted = fleet.finish("done")
    assert [[2]] * len(runs) == [accepted[role] for role in fleet.roles]
    fleet.check()
