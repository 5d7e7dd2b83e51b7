"""The server is away for long: runs finish, and when it is back every report arrives once and in order."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

import pytest

from tests.process.fleet.conftest import BuildFleet
from tests.process.fleet.fleet import (
    DURATIONS,
    LONGER_THAN_TTL_S,
    RECOVERED_WITHIN_S,
    ROUND_TRIPS_S,
    SHORT_LEASES,
    MachineFleet,
    kill,
)
from tests.process.fleet.observation import attempt_of
from tests.process.fleet.recovery import exits_of, report
from tests.process.processes import is_alive
from tests.waiting import wait_until

pytestmark = pytest.mark.process

TEN_MINUTES_S = 600.0
DEFAULT_INTERVAL_S = 30.0


@pytest.fixture
def durations() -> Mapping[str, str]:
    return SHORT_LEASES


def check_server_away(fleet: MachineFleet, away_s: float, promised_s: float) -> None:
    """Kill the server for so long; meanwhile one run finishes, one and a daemon are killed, and the others continue."""
    tasks = [fleet.send(role, f"until:{gate}") for role, gate in zip(fleet.roles, "abccca", strict=True)]
    ends, killed, _, _, goes_on, ends_unseen = [fleet.diaries.wait_for(task) for task in tasks]
    server, daemon = fleet.installation.server, fleet.machines[1]
    assert server is not None
    assert daemon.name == killed.machine == ends_unseen.machine != ends.machine
    wait_until(lambda: fleet.installation.api.count("agent.started") == len(tasks), "every start is reported")
    gone_at, began_at = time.monotonic(), time.time()
    server.kill()
    kill(killed.pid)
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
    fleet.record_silence(fleet.machines[0], began_at)

    fleet.installation.start_server()
    recovered_s = fleet.wait_until_recovered(time.monotonic())
    report(f"the server away for {away_s:g} s: all online after its return", recovered_s, promised_s)
    fleet.diaries.wait_for(killed.task, 2)
    accepted = fleet.finish("b", "c")
    assert [[1], [2], [1], [1], [1], [1]] == [accepted[role] for role in fleet.roles]
    wait_until(lambda: all(exits_of(fleet, run) for run in fleet.diaries.runs()), "every end is reported")
    reported = Counter(
        (event["type"], attempt_of(event)) for event in fleet.check().of("agent.started", "agent.exited")
    )
    for run in fleet.diaries.runs():
        for kind in ("agent.started", "agent.exited"):
            assert 1 == reported[kind, (run.task, run.attempt)], f"{kind} of {run}"


def test_server_away_longer_than_lease(build_fleet: BuildFleet) -> None:
    fleet = build_fleet()
    fleet.start(agents=6)
    check_server_away(fleet, LONGER_THAN_TTL_S, RECOVERED_WITHIN_S)


@pytest.mark.prove
class TestTenMinutes:
    @pytest.fixture
    def durations(self) -> Mapping[str, str]:
        """The defaults, except for how often an agent of a test may fail."""
        return {
            name: DURATIONS[name] for name in ("GREENROOM_CRASH_LOOP_AFTER_FAILURES", "GREENROOM_TASK_FAILURES_MAX")
        }

    def test_server_away_with_default_durations(self, build_fleet: BuildFleet) -> None:
        fleet = build_fleet()
        fleet.start(agents=6)
        check_server_away(fleet, TEN_MINUTES_S, DEFAULT_INTERVAL_S + ROUND_TRIPS_S)
