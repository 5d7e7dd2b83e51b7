"""A machine whose every packet is lost for longer than its lease comes back by itself, and so does what it did."""

from __future__ import annotations

import time

import pytest

from tests.acceptance.fleet.conftest import Build
from tests.acceptance.fleet.evidence import Death, Silence
from tests.acceptance.fleet.fleet import FREE_WITHIN_S, HEALED_WITHIN_S, SLACK_S
from tests.acceptance.fleet.healing import report
from tests.acceptance.fleet.network import kinds
from tests.acceptance.processes import is_alive
from tests.acceptance.waiting import wait_until

pytestmark = pytest.mark.process


@pytest.mark.parametrize("network", kinds())
def test_one_machine_of_two(build: Build, network: str) -> None:
    fleet = build(machines=2, network=network)
    fleet.open(agents=4)
    tasks = [fleet.send(role, f"until:{gate}") for role, gate in zip(fleet.roles, "abca", strict=True)]
    works_on, elsewhere, ends_meanwhile, _ = [fleet.diaries.wait_for(task) for task in tasks]
    machine = fleet.machine_of(works_on.role)
    assert machine.name == ends_meanwhile.machine != elsewhere.machine

    began_at = time.time()
    machine.place.cut()
    fleet.diaries.open_gate("c")
    wait_until(lambda: not is_alive(ends_meanwhile.pid), "it ends while nobody can be told")
    wait_until(lambda: fleet.house.api.count("task.released") == 2, "its tasks are free again", FREE_WITHIN_S + 2)
    assert {"lost"} == {fleet.house.task(run.task)["released_cause"] for run in (works_on, ends_meanwhile)}
    fleet.deaths += [Death(run.task, 1, began_at, FREE_WITHIN_S + SLACK_S) for run in (works_on, ends_meanwhile)]
    fleet.silences.append(Silence(machine.name, began_at, time.time()))
    machine.place.mend()
    healed_s = fleet.heals(time.monotonic())
    report(f"the network of one machine cut ({network}): all online again", healed_s, HEALED_WITHIN_S)

    assert 1 == fleet.house.api.count("machine.disconnected"), "the other machine had nothing to do with it"
    assert {1} == {attempt for accepted in fleet.finish("a", "b").values() for attempt in accepted}
    assert len(fleet.sent) == len(fleet.check().runs)
