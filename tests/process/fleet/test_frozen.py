"""Processes of a fleet are suspended for longer than a lease and continued: no run starts or is killed meanwhile."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping

import pytest

from tests.process.fleet.fleet import LONGER_THAN_TTL_S, RECOVERED_WITHIN_S, SHORT_LEASES, MachineFleet, leader_of
from tests.process.fleet.observation import Silence
from tests.process.fleet.recovery import report

pytestmark = pytest.mark.process


@pytest.fixture
def durations() -> Mapping[str, str]:
    return SHORT_LEASES


def suspend_for_long(fleet: MachineFleet, *pids: int) -> float:
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


def test_suspended_agent_shim_and_daemon(fleet: MachineFleet) -> None:
    """On the first machine, which keeps its lease, an agent and a shim are suspended; on the second the daemon."""
    runs = fleet.begin_all("until:done")
    agent, elsewhere, wrapped, _ = runs
    machine, connections = fleet.machine_of(elsewhere.role), fleet.connections()
    assert machine is not fleet.machine_of(agent.role)
    went_on_at = suspend_for_long(fleet, agent.pid, leader_of(wrapped), machine.pid)
    report("SIGSTOP of a daemon: all online after SIGCONT", fleet.wait_until_recovered(went_on_at), RECOVERED_WITHIN_S)
    assert connections == fleet.connections(), "each agent keeps its connection"
    assert fleet.installation.api.count("machine.disconnected", name=machine.name)
    assert {1} == {attempt for accepted in fleet.finish("done").values() for attempt in accepted}
    assert len(fleet.sent) == len(fleet.check().runs)


def test_suspended_server(fleet: MachineFleet) -> None:
    fleet.begin_all("until:done")
    server, connections = fleet.installation.server, fleet.connections()
    assert server is not None
    went_on_at = suspend_for_long(fleet, server.pid)
    report(
        "SIGSTOP of the server: all online after SIGCONT", fleet.wait_until_recovered(went_on_at), RECOVERED_WITHIN_S
    )
    assert connections == fleet.connections()
    assert {1} == {attempt for accepted in fleet.finish("done").values() for attempt in accepted}
    fleet.check()
    for kind in ("machine.disconnected", "participant.expired", "participant.left", "task.released"):
        assert 0 == fleet.installation.api.count(kind), kind
