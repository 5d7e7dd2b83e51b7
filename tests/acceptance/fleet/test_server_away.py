"""The server is away for long: runs finish, and when it is back every report arrives once and in order."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

import pytest

from tests.acceptance.fleet.conftest import Build
from tests.acceptance.fleet.evidence import attempt_of
from tests.acceptance.fleet.fleet import (
    DURATIONS,
    HEALED_WITHIN_S,
    LAPSING,
    LONGER_THAN_TTL_S,
    ROUND_TRIPS_S,
    Fleet,
    kill,
)
from tests.acceptance.fleet.healing import exits_of, report
from tests.acceptance.processes import is_alive
from tests.waiting import wait_until

pytestmark = pytest.mark.process

TEN_MINUTES_S = 600.0
DEFAULT_INTERVAL_S = 30.0


@pytest.fixture
def durations() -> Mapping[str, str]:
    return LAPSING


def endure(fleet: Fleet, away_s: float, promised_s: float) -> None:
    """Kill the server for so long; meanwhile one run finishes, one and a daemon are killed, and the others continue."""
    tasks = [fleet.send(role, f"until:{gate}") for role, gate in zip(fleet.roles, "abccca", strict=True)]
    ends, dies, _, _, goes_on, ends_unseen = [fleet.diaries.wait_for(task) for task in tasks]
    server, daemon = fleet.house.server, fleet.machines[1]
    assert server is not None
    assert daemon.name == dies.machine == ends_unseen.machine != ends.machine
    wait_until(lambda: fleet.house.api.count("agent.started") == len(tasks), "every start is reported")
    gone_at, began_at = time.monotonic(), time.time()
    server.kill()
    kill(dies.pid)
    time.sleep(away_s / 4)
    daemon.kill()
    fleet.diaries.open_gate("a")
    wait_until(
        lambda: not is_alive(ends.pid) and not is_alive(ends_unseen.pid), "the runs end while no report can be sent"
    )
    daemon.launch()
    time.sleep(max(0.0, gone_at + away_s - time.monotonic()))
    assert len(tasks) == len(fleet.diaries.runs()), "no task was started meanwhile"
    assert is_alive(goes_on.pid)
    fleet.end_silence(fleet.machines[0], began_at)

    fleet.house.start_server()
    healed_s = fleet.heals(time.monotonic())
    report(f"the server away for {away_s:g} s: all online after its return", healed_s, promised_s)
    fleet.diaries.wait_for(dies.task, 2)
    accepted = fleet.finish("b", "c")
    assert [[1], [2], [1], [1], [1], [1]] == [accepted[role] for role in fleet.roles]
    wait_until(lambda: all(exits_of(fleet, run) for run in fleet.diaries.runs()), "every end is reported")
    told = Counter((event["type"], attempt_of(event)) for event in fleet.check().of("agent.started", "agent.exited"))
    for run in fleet.diaries.runs():
        for kind in ("agent.started", "agent.exited"):
            assert 1 == told[kind, (run.task, run.attempt)], f"{kind} of {run}"


def test_for_a_while(build: Build) -> None:
    fleet = build()
    fleet.open(agents=6)
    endure(fleet, LONGER_THAN_TTL_S, HEALED_WITHIN_S)


@pytest.mark.prove
class TestForTenMinutes:
    @pytest.fixture
    def durations(self) -> Mapping[str, str]:
        """The defaults, except for how often an agent of a test may fail."""
        return {name: DURATIONS[name] for name in ("GREENROOM_PARK_AFTER_ENDS", "GREENROOM_TASK_DEATHS_MAX")}

    def test_with_the_durations_that_are_the_default(self, build: Build) -> None:
        fleet = build()
        fleet.open(agents=6)
        endure(fleet, TEN_MINUTES_S, DEFAULT_INTERVAL_S + ROUND_TRIPS_S)
