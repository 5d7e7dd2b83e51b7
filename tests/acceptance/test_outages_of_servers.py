"""The server is killed, or suspended: no participant and no machine expires for it. Real processes and signals."""

from __future__ import annotations

import signal
import time

import pytest

from tests.acceptance.house import LAPSING, ROOM, House
from tests.acceptance.journal import Journal
from tests.acceptance.processes import Started
from tests.waiting import wait_until

pytestmark = pytest.mark.process

TTL_S = 12.0
LEASES = LAPSING | {"GREENROOM_HEARTBEAT_TTL_S": f"{TTL_S}", "GREENROOM_DAEMON_HEARTBEAT_TTL_S": f"{TTL_S}"}
"""Leases of six heartbeats: none may expire, however slow the computer is."""
ROLES = ("builder", "reviewer")
LOSSES = ("participant.expired", "participant.rejoined", "participant.superseded", "machine.disconnected")
CAME = ("participant.joined", "machine.registered", "machine.reconnected")


def populate(house: House) -> tuple[Started, Started, str]:
    """Start a daemon whose builder works on a task, and a `wait-for-task` as reviewer; return both and the task."""
    daemon = house.start_daemon()
    house.wish("builder")
    house.wait_for_status("builder", "waiting")
    agent = house.start("wait-for-task", ROOM, "--role", "reviewer")
    wait_until(lambda: house.seat("reviewer"), "the agent waits")
    task = house.send("hold:outage and paint")
    Journal(house.hands).wait_for("begins", task=task)
    return daemon, agent, task


def beat_on(house: House) -> None:
    """Wait until each participant has beaten since now, and the long polls of both wait at the server."""
    since = {role: house.seat(role)["ready_until"] for role in ROLES}
    wait_until(lambda: all(house.seat(role)["ready_until"] > since[role] for role in ROLES), "all continue to beat")
    house.everybody_waits(2)


def finish(house: House, agent: Started, task: str) -> None:
    """Assert that the participants are the same as before, and that the work is done once."""
    Journal(house.hands).open_gate("outage")
    assert 1 == house.wait_for_task(task, "completed")["attempt"]
    assert agent.wait() == 0
    assert "did hold:outage and paint" in agent.out
    assert [1] == Journal(house.hands).attempts("begins", task)
    assert [] == agent.err_lines("warning:")
    assert [0, 0, 0, 0] == [house.api.count(kind) for kind in LOSSES]
    assert [2, 1, 1] == [house.api.count(kind) for kind in CAME]


@pytest.mark.parametrize("away_s", [TTL_S / 2, 2 * TTL_S], ids=["half a TTL", "two TTLs"])
def test_a_killed_server_comes_back_to_everybody_it_left(bare: House, away_s: float) -> None:
    house = bare.open(**LEASES)
    daemon, agent, task = populate(house)
    before = {role: house.seat(role)["connection_id"] for role in ROLES}
    assert house.server is not None
    house.server.kill()
    time.sleep(away_s)
    assert agent.poll() is None
    for each in (daemon, agent):
        each.send(signal.SIGSTOP)
    house.start_server()
    wait_until(lambda: 2 <= house.api.metric("greenroom_sweeps_total"), "the sweep has run twice")
    for each in (daemon, agent):
        each.send(signal.SIGCONT)
    beat_on(house)
    assert before == {role: house.seat(role)["connection_id"] for role in ROLES}
    finish(house, agent, task)


def test_a_run_that_ends_while_the_server_is_away_is_told_when_it_is_back(house: House) -> None:
    _, agent, task = populate(house)
    assert house.server is not None
    house.server.kill()
    Journal(house.hands).open_gate("outage")
    Journal(house.hands).wait_for("ends", task=task)
    house.start_server()
    finish(house, agent, task)


def test_a_server_that_stood_still_removes_nobody(bare: House) -> None:
    house = bare.open(**LEASES)
    _, agent, task = populate(house)
    assert house.server is not None
    house.server.send(signal.SIGSTOP)
    time.sleep(2 * TTL_S)
    house.server.send(signal.SIGCONT)
    wait_until(lambda: 1 <= house.api.metric("greenroom_sweep_extensions_total"), "the sweep has extended every lease")
    beat_on(house)
    finish(house, agent, task)


def test_a_server_that_was_killed_has_lost_no_message(house: House) -> None:
    tasks = []
    for number in range(3):
        tasks.append(house.send(f"job {number}"))
        assert house.server is not None
        house.server.kill()
        house.start_server()
    assert tasks == [task["id"] for task in house.api.get(f"rooms/{ROOM}/tasks")]
    positions = [event["pos"] for event in house.api.events()]
    assert positions == list(range(1, len(positions) + 1))
