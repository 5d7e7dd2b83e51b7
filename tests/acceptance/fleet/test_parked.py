"""An agent that always fails becomes crash-looping, without effect on others; a successful probe run ends that."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.acceptance.fleet.checks import GRAIN_S
from tests.acceptance.fleet.conftest import Build
from tests.acceptance.fleet.evidence import Budget, seconds
from tests.acceptance.fleet.fleet import DURATIONS
from tests.acceptance.fleet.healing import report
from tests.waiting import wait_until

pytestmark = pytest.mark.process

ENDS = 3
WINDOW_S = 3600.0
PAUSE_S = 4.0


@pytest.fixture
def durations() -> Mapping[str, str]:
    return DURATIONS | {
        "GREENROOM_PARK_AFTER_ENDS": str(ENDS),
        "GREENROOM_PARK_WINDOW_S": str(WINDOW_S),
        "GREENROOM_PARK_PAUSE_S": str(PAUSE_S),
        "GREENROOM_TASK_DEATHS_MAX": str(ENDS),
    }


def test_an_agent_that_dies_again_and_again(build: Build) -> None:
    fleet = build()
    fleet.budget = Budget(ends=ENDS, window_s=WINDOW_S)
    fleet.open(agents=2)
    neighbour = fleet.begin("r1", "until:done")
    hopeless = fleet.house.send("fail:99", to="r0")
    good = fleet.send("r0", "for:0.2")
    fleet.house.wait_for_task(hopeless, "quarantined")
    trial = fleet.diaries.wait_for(good)
    [parked] = fleet.told("agent.parked", role="r0")
    parked_at, until = seconds(parked["data"]["at"]), seconds(parked["data"]["until"])
    assert until - parked_at <= PAUSE_S
    assert trial.began_at >= until - GRAIN_S, "a crash-looping role runs nothing"
    report("a crash-looping role: its probe run", trial.began_at - parked_at, rest_s=until - parked_at)
    assert {"r0": [1], "r1": [1]} == fleet.finish("done")
    fleet.house.wait_for_status("r0", "waiting")
    wait_until(lambda: fleet.house.api.count("agent.unparked", role="r0"), "the recovery is reported")
    assert [1, 1] == [fleet.house.api.count(kind, role="r0") for kind in ("agent.parked", "agent.unparked")]
    assert [neighbour] == [
        run._replace(last_at=neighbour.last_at, end=None) for run in fleet.diaries.runs(neighbour.task)
    ]
    fleet.check()
