"""A real daemon with agents, behind a connection that is reset or stalls: they reconnect by themselves."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.process.agent_journal import AgentJournal
from tests.process.installation import ROLES, SHORT_LEASES, SHORT_REQUEST_TIMEOUT, Installation
from tests.process.proxy import Proxy
from tests.waiting import wait_until

pytestmark = pytest.mark.process

INTERVAL_S = float(SHORT_LEASES["GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S"])
NO_HEARTBEATS = {"GREENROOM_STREAM_HEARTBEAT_S": "3600"}
"""Without heartbeats a stream wakes for events alone, so that an event without a notification is never seen."""


def start_behind_proxy(bare: Installation, **server_settings: str) -> Proxy:
    """Start a server, and a daemon with its agents behind a proxy."""
    installation = bare.start_with_room(**SHORT_LEASES, **server_settings)
    proxy = installation.proxy()
    installation.start_daemon(proxy.url, None, **SHORT_REQUEST_TIMEOUT)
    for role in ("builder", "reviewer"):
        installation.assign(role)
    for role in ("builder", "reviewer"):
        installation.wait_for_status(role, "waiting")
    return proxy


def wait_until_disconnected(installation: Installation) -> int:
    """Wait until the machine is disconnected; return the log's position by then."""
    wait_until(lambda: not installation.machine()["daemon_connected"], "the machine is disconnected")
    return installation.api.position()


@pytest.mark.parametrize("outage", ["cut", "stall", "late"])
def test_machine_and_agents_reconnect_after_outage(bare: Installation, outage: str) -> None:
    installation, proxy = bare, start_behind_proxy(bare, **NO_HEARTBEATS)
    event_reader, journal = installation.event_reader(), AgentJournal(installation.agent_folder)
    watch = installation.start("status", "--watch", "--json")
    wait_until(lambda: shows(watch.out, True), "status --watch shows it connected")
    before = {role: wait_for_participant(installation, role) for role in ROLES}

    proxy.cut() if outage == "cut" else proxy.stall()
    position = wait_until_disconnected(installation)
    assert event_reader.wait_for("machine.disconnected").event["pos"] <= position
    wait_until(lambda: shows(watch.out, False), "status --watch shows it disconnected")
    time.sleep(INTERVAL_S)  # its retries meanwhile reach no server
    requests_before = len(proxy.requests)
    proxy.restore(late=outage == "late")
    event_reader.wait_for("machine.reconnected", after=position)

    since = proxy.requests[requests_before:]
    assert "heartbeat" in [each.verb for each in since]
    assert not [each for each in since if each.method == "PUT" or each.verb == "join"], (
        "a heartbeat alone reconnects everything"
    )
    wait_until(lambda: shows(watch.out, True), "status --watch shows it connected again")
    after = {role: wait_for_participant(installation, role) for role in ROLES}
    for role, participant in before.items():
        assert (participant["connection_id"], participant["epoch"]) == (
            after[role]["connection_id"],
            after[role]["epoch"],
        )
    installation.wait_for_long_polls(3)
    task = installation.send("paint the door")
    wait_until(installation.messages_to_user, "the result comes back")
    assert [1] == journal.attempts("begins", task)
    assert 2 == len(journal.lines("begins"))
    wait_until(lambda: has_reconnected_each_time(installation), "it reconnected as often as it was disconnected")
    assert 0 == installation.api.count("participant.superseded")


def wait_for_participant(installation: Installation, role: str) -> Any:
    return wait_until(lambda: installation.participant(role), f"{role} is present")


def has_reconnected_each_time(installation: Installation) -> bool:
    """Return whether the machine reconnected after each disconnect, of which there was at least one.

    Its first connection is a `machine.reconnected`, too.
    """
    types = [event["type"] for event in installation.api.events()]
    return 1 <= types.count("machine.disconnected") == types.count("machine.reconnected") - 1


def test_run_continues_through_outage(bare: Installation) -> None:
    installation, proxy = bare, start_behind_proxy(bare)
    event_reader, journal = installation.event_reader(), AgentJournal(installation.agent_folder)
    task = installation.send("hold:outage and paint")
    journal.wait_for("begins", task=task)
    proxy.stall()
    position = wait_until_disconnected(installation)
    assert "lost" == installation.wait_for_task(task, "pending")["released_cause"]
    proxy.restore()
    event_reader.wait_for("machine.reconnected", after=position)
    journal.open_gate("outage")
    done = installation.wait_for_task(task, "completed")
    assert (1, []) == (done["attempt"], done["late_results"])
    assert [1] == journal.attempts("begins", task)


def test_result_of_outage_is_sent_after_it(bare: Installation) -> None:
    installation, proxy, journal = bare, start_behind_proxy(bare), AgentJournal(bare.agent_folder)
    task = installation.send("hold:outage and paint")
    journal.wait_for("begins", task=task)
    proxy.cut()
    wait_until_disconnected(installation)
    journal.open_gate("outage")
    journal.wait_for("ends", task=task)
    proxy.restore()
    assert 1 == installation.wait_for_task(task, "completed")["attempt"]
    wait_until(lambda: installation.messages_to_user(), "the reviewer's answer comes")
    assert 2 == len(journal.lines("begins"))


def shows(output: str, daemon_connected: bool) -> bool:
    """Return whether the last whole line of `status --watch --json` shows that."""
    last = output[: output.rfind("\n")].rpartition("\n")[2]
    return bool(last) and [daemon_connected] == [each["daemon_connected"] for each in json.loads(last)["machines"]]
