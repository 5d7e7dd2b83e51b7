"""A machine that loses every packet for longer than its lease reconnects by itself, and its results are accepted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

import pytest

from tests.process.fleet.conftest import BuildFleet
from tests.process.fleet.diaries import AgentRun
from tests.process.fleet.fleet import LOST_AFTER_S, RECOVERED_WITHIN_S, SHORT_LEASES, MachineFleet
from tests.process.fleet.network import available_networks
from tests.process.fleet.observation import HolderFailure
from tests.process.fleet.recovery import report
from tests.process.processes import is_alive
from tests.waiting import wait_until

pytestmark = pytest.mark.process


@pytest.fixture
def durations() -> Mapping[str, str]:
    return SHORT_LEASES


def is_lost(fleet: MachineFleet, run: AgentRun) -> bool:
    return bool(fleet.installation.task(run.task)["released_cause"] == "lost")


@pytest.mark.parametrize("network", available_networks())
def test_machine_without_network_reconnects(build_fleet: BuildFleet, network: str) -> None:
    fleet = build_fleet(machines=2, network=network)
    fleet.start(agents=4)
    tasks = [fleet.send(role, f"until:{gate}") for role, gate in zip(fleet.roles, "abca", strict=True)]
    works_on, elsewhere, ends_meanwhile, _ = [fleet.diaries.wait_for(task) for task in tasks]
    machine = fleet.machine_of(works_on.role)
    assert machine.name == ends_meanwhile.machine != elsewhere.machine

    connections, began_at = fleet.connections(), time.time()
    machine.link.cut()
    fleet.diaries.open_gate("c")
    wait_until(lambda: not is_alive(ends_meanwhile.pid), "the run ends during the outage")
    for run in (works_on, ends_meanwhile):
        wait_until(partial(is_lost, fleet, run), f"{run.task} is released")
        fleet.failures.append(HolderFailure(run.task, 1, began_at, silent_s=LOST_AFTER_S))
    fleet.record_silence(machine, began_at)
    machine.link.restore()
    recovered_s = fleet.wait_until_recovered(time.monotonic())
    report(f"the network of one machine cut ({network}): all online again", recovered_s, RECOVERED_WITHIN_S)

    assert connections == fleet.connections(), "each agent keeps its connection"
    assert fleet.installation.api.count("machine.disconnected", name=machine.name)
    assert {1} == {attempt for accepted in fleet.finish("a", "b").values() for attempt in accepted}
    assert len(fleet.sent) == len(fleet.check().runs)
