"""A real agent waits behind a connection that is reset, or stalls: it reconnects and rejoins by itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from tests.process.api import ROUNDING_S, EventReader, committed_at
from tests.process.installation import ROOM, SHORT_LEASES, SHORT_REQUEST_TIMEOUT, Installation
from tests.process.processes import StartedProcess
from tests.process.proxy import ProxiedRequest, Proxy
from tests.waiting import wait_until

pytestmark = pytest.mark.process

INTERVAL_S = float(SHORT_LEASES["GREENROOM_HEARTBEAT_INTERVAL_S"])
LEASES_WITHOUT_LOSS = SHORT_LEASES | {"GREENROOM_TASK_LOST_AFTER_S": "3600"}
"""Leases expire, and yet no holder loses its task."""
LONG_LEASES = {"GREENROOM_HEARTBEAT_INTERVAL_S": "2", "GREENROOM_HEARTBEAT_TTL_S": "60"}
"""Heartbeats are frequent, and a lease outlasts many missed ones."""


def start_agent(installation: Installation, proxy: Proxy) -> StartedProcess:
    agent = installation.start("wait-for-task", ROOM, "--role", "builder", url=proxy.url, **SHORT_REQUEST_TIMEOUT)
    wait_until(installation.participant, "the agent waits")
    return agent


def wait_until_removed(installation: Installation) -> int:
    """Wait until no participant is present any more; return the log's position by then."""
    wait_until(lambda: not installation.room()["participants"], "the participant expires")
    return installation.api.position()


@pytest.mark.parametrize("outage", ["cut", "stall", "late"])
def test_wait_for_task_rejoins_after_outage(bare: Installation, outage: str) -> None:
    installation = bare.start_with_room(**LEASES_WITHOUT_LOSS)
    proxy, event_reader = installation.proxy(), installation.event_reader()
    agent = start_agent(installation, proxy)
    before = wait_until(installation.participant, "the agent waits")

    proxy.cut() if outage == "cut" else proxy.stall()
    position = wait_until_removed(installation)
    assert event_reader.wait_for("participant.expired", role="builder").event["pos"] <= position
    assert agent.poll() is None
    time.sleep(INTERVAL_S)  # its retries meanwhile reach no server
    requests_before = len(proxy.requests)
    proxy.restore(late=outage == "late")
    event_reader.wait_for("participant.rejoined", after=position, role="builder")

    check_rejoined_by_one_heartbeat(proxy.requests[requests_before:])
    assert before["connection_id"] == wait_until(installation.participant, "the agent is back")["connection_id"]
    installation.wait_for_long_polls(1)
    task = installation.send("paint the door")
    assert agent.wait() == 0
    claimed = event_reader.wait_for("task.claimed", task=task).event["data"]
    assert (before["connection_id"], 1) == (claimed["connection_id"], claimed["attempt"])
    assert task in agent.out
    assert "paint the door" in agent.out
    check_one_warning_per_rejoin(event_reader, agent)


def test_each_outage_is_warned_of_once(bare: Installation) -> None:
    installation = bare.start_with_room(**LEASES_WITHOUT_LOSS)
    proxy, event_reader = installation.proxy(), installation.event_reader()
    agent = start_agent(installation, proxy)
    for outages in (1, 2):
        proxy.cut()
        position = wait_until_removed(installation)
        proxy.restore()
        event_reader.wait_for("participant.rejoined", after=position)
        wait_until(partial(has_warned, agent, outages), "the agent has printed the warning")
    task = installation.send("paint the door")
    assert agent.wait() == 0
    event_reader.wait_for("task.claimed", task=task)
    check_one_warning_per_rejoin(event_reader, agent)
    assert not event_reader.find("participant.superseded")


def test_outage_shorter_than_lease_is_silent(bare: Installation) -> None:
    installation = bare.start_with_room(**LONG_LEASES)
    proxy = installation.proxy()
    agent = start_agent(installation, proxy)
    proxy.cut()
    time.sleep(INTERVAL_S)  # at least one heartbeat fails
    proxy.restore()
    task = installation.send("paint the door")
    assert agent.wait() == 0
    assert task in agent.out
    assert [] == agent.err_lines("warning:")
    assert 0 == installation.api.count("participant.expired")


def test_new_holder_keeps_role_after_outage(bare: Installation) -> None:
    installation = bare.start_with_room(**LEASES_WITHOUT_LOSS)
    proxy, event_reader = installation.proxy(), installation.event_reader()
    older = start_agent(installation, proxy)
    expired_id = installation.participant()["connection_id"]
    proxy.stall()
    wait_until_removed(installation)
    event_reader.wait_for("participant.expired", connection_id=expired_id)
    newer = installation.start("wait-for-task", ROOM, "--role", "builder")
    connection_id = wait_until(installation.participant, "the second agent waits")["connection_id"]
    proxy.restore(late=True)

    assert older.wait() == 4
    assert "Stop" in older.err
    assert "call again" not in older.err
    assert [] == older.err_lines("warning:")
    path = f"rooms/{ROOM}/participants/builder"
    for call in ("join", "heartbeat"):
        assert (
            "superseded"
            == installation.api.call("POST", f"{path}/{call}", {"connection_id": expired_id}).body["status"]
        )
    assert connection_id == wait_until(installation.participant, "the second agent is present")["connection_id"]
    task = installation.send("paint the door")
    assert newer.wait() == 0
    assert connection_id == installation.task(task)["claimed_by"]


def test_killed_agent_expires_with_its_lease(bare: Installation) -> None:
    installation = bare.start_with_room(**SHORT_LEASES)
    agent = installation.start("wait-for-task", ROOM, "--role", "builder")
    joined = wait_until(installation.participant, "the agent waits")
    renewed = wait_until(
        partial(renewed_participant, installation, joined["ready_until"]), "a heartbeat has renewed its lease"
    )
    agent.kill()
    wait_until_removed(installation)
    expired = [event for event in installation.api.events() if event["type"] == "participant.expired"][-1]
    assert committed_at(expired) - committed_at({"at": renewed["ready_until"]}) >= -ROUNDING_S
    assert "no heartbeat for" in expired["cause"]
    assert f"(limit {float(SHORT_LEASES['GREENROOM_HEARTBEAT_TTL_S']):g} s)" in expired["cause"]
    assert "vacant" == installation.role()["status"]


def renewed_participant(installation: Installation, ready_until: str) -> Any:
    participant = installation.participant()
    return participant if participant["ready_until"] > ready_until else None


def check_rejoined_by_one_heartbeat(requests: Sequence[ProxiedRequest]) -> None:
    """Assert that an agent rejoined upon the first heartbeat that was answered, and sent nothing else before.

    A client whose request timed out does not use that connection again.
    """
    join = next(each for each in requests if each.verb == "join")
    on_connection = [each for each in requests if each.connection == join.connection]
    assert ["heartbeat", "join"] == [each.verb for each in on_connection[:2]], requests
    assert b'"rejoin_required"' in on_connection[0].answer
    before = [each for each in requests[: requests.index(join)] if each.verb in ("heartbeat", "join")]
    assert len(before) == len({each.connection for each in before}), "the agent ignored an answer"


def check_one_warning_per_rejoin(event_reader: EventReader, agent: StartedProcess) -> None:
    """Assert that an agent that has exited printed one warning for each rejoin (at least one), and no other."""
    rejoins = len(event_reader.find("participant.rejoined"))
    assert 1 <= rejoins == len(agent.err_lines("warning:")), agent.err


def has_warned(agent: StartedProcess, times: int) -> bool:
    return times <= len(agent.err_lines("warning:"))
