"""The server is killed, or suspended: no participant and no machine expires for it. Real processes and signals."""

from __future__ import annotations

import signal
import time

import pytest

from tests.process.agent_journal import AgentJournal
from tests.process.installation import ROOM, SHORT_LEASES, Installation
from tests.process.processes import StartedProcess
from tests.waiting import wait_until

pytestmark = pytest.mark.process

TTL_S = 12.0
LEASES = SHORT_LEASES | {"GREENROOM_HEARTBEAT_TTL_S": f"{TTL_S}", "GREENROOM_DAEMON_HEARTBEAT_TTL_S": f"{TTL_S}"}
"""Leases of six heartbeats: none may expire, however slow the computer is."""
ROLES = ("builder", "reviewer")
LOSS_EVENTS = ("participant.expired", "participant.rejoined", "participant.superseded", "machine.disconnected")
ARRIVAL_EVENTS = ("participant.joined", "machine.registered", "machine.reconnected")


def start_agents(installation: Installation) -> tuple[StartedProcess, StartedProcess, str]:
    """Start a daemon whose builder works on a task, and a `wait-for-task` as reviewer; return both and the task."""
    daemon = installation.start_daemon()
    installation.assign("builder")
    installation.wait_for_status("builder", "waiting")
    agent = installation.start("wait-for-task", ROOM, "--role", "reviewer")
    wait_until(lambda: installation.participant("reviewer"), "the agent waits")
    task = installation.send("hold:outage and paint")
    AgentJournal(installation.agent_folder).wait_for("begins", task=task)
    return daemon, agent, task


def wait_for_heartbeats(installation: Installation) -> None:
    """Wait until each participant has beaten since now, and the long polls of both wait at the server."""
    ready_before = {role: installation.participant(role)["ready_until"] for role in ROLES}
    wait_until(
        lambda: all(installation.participant(role)["ready_until"] > ready_before[role] for role in ROLES),
        "all continue to beat",
    )
    installation.wait_for_long_polls(2)


def check_finished(installation: Installation, agent: StartedProcess, task: str) -> None:
    """Assert that the participants are the same as before, and that the work is done once."""
    AgentJournal(installation.agent_folder).open_gate("outage")
    assert 1 == installation.wait_for_task(task, "completed")["attempt"]
    assert agent.wait() == 0
    assert "did hold:outage and paint" in agent.out
    assert [1] == AgentJournal(installation.agent_folder).attempts("begins", task)
    assert [] == agent.err_lines("warning:")
    assert [0, 0, 0, 0] == [installation.api.count(kind) for kind in LOSS_EVENTS]
    assert [2, 1, 1] == [installation.api.count(kind) for kind in ARRIVAL_EVENTS]


@pytest.mark.parametrize("away_s", [TTL_S / 2, 2 * TTL_S], ids=["half-a-ttl", "two-ttls"])
def test_participants_survive_killed_server(bare: Installation, away_s: float) -> None:
    installation = bare.start_with_room(**LEASES)
    daemon, agent, task = start_agents(installation)
    before = {role: installation.participant(role)["connection_id"] for role in ROLES}
    assert installation.server is not None
    installation.server.kill()
    time.sleep(away_s)
    assert agent.poll() is None
    for each in (daemon, agent):
        each.send(signal.SIGSTOP)
    installation.start_server()
    wait_until(lambda: 2 <= installation.api.metric("greenroom_sweeps_total"), "the sweep has run twice")
    for each in (daemon, agent):
        each.send(signal.SIGCONT)
    wait_for_heartbeats(installation)
    assert before == {role: installation.participant(role)["connection_id"] for role in ROLES}
    check_finished(installation, agent, task)


def test_run_ended_during_server_outage_is_reported(installation: Installation) -> None:
    _, agent, task = start_agents(installation)
    assert installation.server is not None
    installation.server.kill()
    AgentJournal(installation.agent_folder).open_gate("outage")
    AgentJournal(installation.agent_folder).wait_for("ends", task=task)
    installation.start_server()
    check_finished(installation, agent, task)


def test_suspended_server_expires_no_lease(bare: Installation) -> None:
    installation = bare.start_with_room(**LEASES)
    _, agent, task = start_agents(installation)
    assert installation.server is not None
    installation.server.send(signal.SIGSTOP)
    time.sleep(2 * TTL_S)
    installation.server.send(signal.SIGCONT)
    wait_until(
        lambda: 1 <= installation.api.metric("greenroom_sweep_extensions_total"), "the sweep has extended every lease"
    )
    wait_for_heartbeats(installation)
    check_finished(installation, agent, task)


def test_killed_server_loses_no_message(installation: Installation) -> None:
    tasks = []
    for number in range(3):
        tasks.append(installation.send(f"job {number}"))
        assert installation.server is not None
        installation.server.kill()
        installation.start_server()
    assert tasks == [task["id"] for task in installation.api.get(f"rooms/{ROOM}/tasks")]
    positions = [event["pos"] for event in installation.api.events()]
    assert positions == list(range(1, len(positions) + 1))
