"""Processes of a fleet are suspended for longer than a lease and continued: no run starts or is killed meanwhile."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping

import pytest

from tests.acceptance.fleet.evidence import Silence
from tests.acceptance.fleet.fleet import HEALED_WITHIN_S, LAPSING, LONGER_THAN_TTL_S, Fleet, leader_of
from tests.acceptance.fleet.healing import report

pytestmark = pytest.mark.process


@pytest.fixture
def durations() -> Mapping[str, str]:
    return LAPSING


def freeze_for_long(fleet: Fleet, *pids: int) -> float:
    """Suspend these processes for longer than a lease; return when they were continued, by the monotonic clock."""
    began_at = time.time()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(LONGER_THAN_TTL_S)
    finally:
        fleet.silences += [Silence(machine.name, began_at, time.time()) for machine in fleet.machines]
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    return time.monotonic()


def test_an_agent_a_wrapper_and_another_machine_s_daemon(fleet: Fleet) -> None:
    """On the first machine, which keeps its lease, an agent and a shim are suspended; on the second the daemon."""
    runs = fleet.begin_all("until:done")
    agent, elsewhere, wrapped, _ = runs
    machine, sittings = fleet.machine_of(elsewhere.role), fleet.sittings()
    assert machine is not fleet.machine_of(agent.role)
    went_on_at = freeze_for_long(fleet, agent.pid, leader_of(wrapped), machine.pid)
    report("SIGSTOP of a daemon: all online after SIGCONT", fleet.heals(went_on_at), HEALED_WITHIN_S)
    assert sittings == fleet.sittings(), "each agent keeps its connection"
    assert fleet.house.api.count("machine.disconnected", name=machine.name)
    assert {1} == {attempt for accepted in fleet.finish("done").values() for attempt in accepted}
    assert len(fleet.sent) == len(fleet.check().runs)


def test_the_server(fleet: Fleet) -> None:
    fleet.begin_all("until:done")
    server, sittings = fleet.house.server, fleet.sittings()
    assert server is not None
    went_on_at = freeze_for_long(fleet, server.pid)
    report("SIGSTOP of the server: all online after SIGCONT", fleet.heals(went_on_at), HEALED_WITHIN_S)
    assert sittings == fleet.sittings()
    assert {1} == {attempt for accepted in fleet.finish("done").values() for attempt in accepted}
    fleet.check()
    for kind in ("machine.disconnected", "participant.expired", "participant.left", "task.released"):
        assert 0 == fleet.house.api.count(kind), kind
