"""An agent that always fails becomes crash-looping, without effect on others; a successful probe run ends that."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.process.fleet.checks import ROUNDING_S
from tests.process.fleet.conftest import BuildFleet
from tests.process.fleet.fleet import DURATIONS
from tests.process.fleet.observation import RestartBudget, seconds
from tests.process.fleet.recovery import report
from tests.waiting import wait_until

pytestmark = pytest.mark.process

FAILURES = 3
WINDOW_S = 3600.0
PAUSE_S = 4.0


@pytest.fixture
def durations() -> Mapping[str, str]:
    return DURATIONS | {
        "GREENROOM_CRASH_LOOP_AFTER_FAILURES": str(FAILURES),
        "GREENROOM_CRASH_LOOP_WINDOW_S": str(WINDOW_S),
        "GREENROOM_CRASH_LOOP_PROBE_AFTER_S": str(PAUSE_S),
        "GREENROOM_TASK_FAILURES_MAX": str(FAILURES),
    }


def test_failing_agent_crash_loops_and_recovers(build_fleet: BuildFleet) -> None:
    fleet = build_fleet()
    fleet.budget = RestartBudget(failures_max=FAILURES, window_s=WINDOW_S)
    fleet.start(agents=2)
    neighbour = fleet.begin("r1", "until:done")
    hopeless = fleet.installation.send("fail:99", to="r0")
    good = fleet.send("r0", "for:0.2")
    fleet.installation.wait_for_task(hopeless, "quarantined")
    probe_run = fleet.diaries.wait_for(good)
    [crash_loop] = fleet.events_of("agent.crash_looping", role="r0")
    crash_looping_at, until = seconds(crash_loop["data"]["at"]), seconds(crash_loop["data"]["until"])
    assert until - crash_looping_at <= PAUSE_S
    assert probe_run.began_at >= until - ROUNDING_S, "a crash-looping role runs nothing"
    report(
        "a crash-looping role: its probe run", probe_run.began_at - crash_looping_at, backoff_s=until - crash_looping_at
    )
    assert {"r0": [1], "r1": [1]} == fleet.finish("done")
    fleet.installation.wait_for_status("r0", "waiting")
    wait_until(lambda: fleet.installation.api.count("agent.recovered", role="r0"), "the recovery is reported")
    assert [1, 1] == [
        fleet.installation.api.count(kind, role="r0") for kind in ("agent.crash_looping", "agent.recovered")
    ]
    assert [neighbour] == [
        run._replace(last_at=neighbour.last_at, end=None) for run in fleet.diaries.runs(neighbour.task)
    ]
    fleet.check()
