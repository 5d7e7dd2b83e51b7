"""A machine that loses every packet for longer than its lease reconnects by itself, and its results are accepted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

import pytest

from tests.acceptance.fleet.conftest import Build
from tests.acceptance.fleet.diaries import Run
from tests.acceptance.fleet.evidence import Death
from tests.acceptance.fleet.fleet import HEALED_WITHIN_S, LAPSING, LOST_AFTER_S, Fleet
from tests.acceptance.fleet.healing import report
from tests.acceptance.fleet.network import kinds
from tests.acceptance.processes import is_alive
from tests.waiting import wait_until

pytestmark = pytest.mark.process


@pytest.fixture
def durations() -> Mapping[str, str]:
    return LAPSING


def is_lost(fleet: Fleet, run: Run) -> bool:
    return bool(fleet.house.task(run.task)["released_cause"] == "lost")


@pytest.mark.parametrize("network", kinds())
def test_one_machine_of_two(build: Build, network: str) -> None:
    fleet = build(machines=2, network=network)
    fleet.open(agents=4)
    tasks = [fleet.send(role, f"until:{gate}") for role, gate in zip(fleet.roles, "abca", strict=True)]
    works_on, elsewhere, ends_meanwhile, _ = [fleet.diaries.wait_for(task) for task in tasks]
    machine = fleet.machine_of(works_on.role)
    assert machine.name == ends_meanwhile.machine != elsewhere.machine

    sittings, began_at = fleet.sittings(), time.time()
    machine.place.cut()
    fleet.diaries.open_gate("c")
    wait_until(lambda: not is_alive(ends_meanwhile.pid), "the run ends during the outage")
    for run in (works_on, ends_meanwhile):
        wait_until(partial(is_lost, fleet, run), f"{run.task} is released")
        fleet.deaths.append(Death(run.task, 1, began_at, silent_s=LOST_AFTER_S))
    fleet.end_silence(machine, began_at)
    machine.place.mend()
    healed_s = fleet.heals(time.monotonic())
    report(f"the network of one machine cut ({network}): all online again", healed_s, HEALED_WITHIN_S)

    assert sittings == fleet.sittings(), "each agent keeps its connection"
    assert fleet.house.api.count("machine.disconnected", name=machine.name)
    assert {1} == {attempt for accepted in fleet.finish("a", "b").values() for attempt in accepted}
    assert len(fleet.sent) == len(fleet.check().runs)
