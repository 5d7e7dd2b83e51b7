"""An agent that always dies is let rest, and nobody else is the worse for it; one good run and it is as any other."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from tests.acceptance.fleet.conftest import Build
from tests.acceptance.fleet.evidence import Budget
from tests.acceptance.fleet.fleet import DURATIONS, TTL_S
from tests.acceptance.fleet.healing import RUN_AGAIN_WITHIN_S, report
from tests.acceptance.waiting import stays, wait_until

pytestmark = pytest.mark.process

ENDS = 3
PAUSE_S = 4.0


@pytest.fixture
def durations() -> Mapping[str, str]:
    return DURATIONS | {
        "GREENROOM_PARK_AFTER_ENDS": str(ENDS),
        "GREENROOM_PARK_WINDOW_S": "60",
        "GREENROOM_PARK_PAUSE_S": str(PAUSE_S),
        "GREENROOM_TASK_DEATHS_MAX": str(ENDS),
    }


def test_an_agent_that_dies_again_and_again(build: Build) -> None:
    fleet = build()
    fleet.budget = Budget(ends=ENDS, window_s=60.0, ttl_s=TTL_S)
    fleet.open(agents=2)
    neighbour = fleet.begin("r1", "until:done")
    hopeless = fleet.house.send("fail:99", to="r0")
    fleet.house.wait_for_task(hopeless, "quarantined")
    parked_at = time.monotonic()
    fleet.house.wait_for_status("r0", "parked")
    good = fleet.send("r0", "for:0.2")
    stays(lambda: not fleet.diaries.runs(good), "a parked role runs nothing", PAUSE_S / 2)
    fleet.diaries.wait_for(good)
    rested_s = time.monotonic() - parked_at
    assert rested_s >= PAUSE_S - 1.0
    report("a parked role: its one run on trial", rested_s, RUN_AGAIN_WITHIN_S, rest_s=PAUSE_S)
    assert {"r0": [1], "r1": [1]} == fleet.finish("done")
    fleet.house.wait_for_status("r0", "waiting")
    wait_until(lambda: fleet.house.api.count("agent.unparked", role="r0"), "the good end of the trial is told")
    assert [1, 1] == [fleet.house.api.count(kind, role="r0") for kind in ("agent.parked", "agent.unparked")]
    assert [neighbour] == [
        run._replace(last_at=neighbour.last_at, end=None) for run in fleet.diaries.runs(neighbour.task)
    ]
    fleet.check()
