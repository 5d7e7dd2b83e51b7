"""A real daemon with agents, behind a connection that is reset or stalls: they reconnect by themselves."""

from __future__ import annotations

import json
import time

import pytest

from tests.acceptance.house import LAPSING, RETRYING, ROLES, House
from tests.acceptance.journal import Journal
from tests.acceptance.proxy import Proxy
from tests.waiting import wait_until

pytestmark = pytest.mark.process

INTERVAL_S = float(LAPSING["GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S"])
NO_COMMENTS = {"GREENROOM_STREAM_COMMENT_S": "3600"}
"""Without comments a stream wakes for events alone, so that an event without a notification is never seen."""


def open_behind(bare: House, **of_server: str) -> Proxy:
    """Start a server, and a daemon with its agents behind a proxy."""
    house = bare.open(**LAPSING, **of_server)
    proxy = house.proxy()
    house.start_daemon(proxy.url, None, **RETRYING)
    for role in ("builder", "reviewer"):
        house.wish(role)
    for role in ("builder", "reviewer"):
        house.wait_for_status(role, "waiting")
    return proxy


def wait_until_disconnected(house: House) -> int:
    """Wait until the machine is disconnected; return the log's position by then."""
    wait_until(lambda: not house.machine()["daemon_connected"], "the machine is disconnected")
    return house.api.position()


@pytest.mark.parametrize("outage", ["cut", "swallow", "late"])
def test_a_machine_and_its_agents_come_back_by_themselves(bare: House, outage: str) -> None:
    house, proxy = bare, open_behind(bare, **NO_COMMENTS)
    live, journal = house.live(), Journal(house.hands)
    watch = house.start("status", "--watch", "--json")
    wait_until(lambda: shows(watch.out, True), "status --watch shows it connected")
    before = {role: wait_until(lambda role=role: house.seat(role), f"{role} is present") for role in ROLES}  # type: ignore[misc]

    proxy.cut() if outage == "cut" else proxy.swallow()
    gone = wait_until_disconnected(house)
    assert live.wait_for("machine.disconnected").event["pos"] <= gone
    wait_until(lambda: shows(watch.out, False), "status --watch shows it disconnected")
    time.sleep(INTERVAL_S)  # its retries meanwhile reach no server
    passed_before = len(proxy.passed)
    proxy.mend(late=outage == "late")
    live.wait_for("machine.reconnected", after=gone)

    since = proxy.passed[passed_before:]
    assert "heartbeat" in [each.verb for each in since]
    assert not [each for each in since if each.method == "PUT" or each.verb == "join"], (
        "a heartbeat alone reconnects everything"
    )
    wait_until(lambda: shows(watch.out, True), "status --watch shows it connected again")
    after = {role: wait_until(lambda role=role: house.seat(role), f"{role} is present again") for role in ROLES}  # type: ignore[misc]
    for role, seat in before.items():
        assert (seat["connection_id"], seat["epoch"]) == (after[role]["connection_id"], after[role]["epoch"])
    house.everybody_waits(3)
    task = house.send("paint the door")
    wait_until(house.heard_by_user, "the result comes back")
    assert [1] == journal.attempts("begins", task)
    assert 2 == len(journal.lines("begins"))
    wait_until(lambda: has_come_back_each_time(house), "it reconnected as often as it was disconnected")
    assert 0 == house.api.count("participant.superseded")


def has_come_back_each_time(house: House) -> bool:
    """Return whether the machine reconnected after each disconnect, of which there was at least one.

    Its first connection is a `machine.reconnected`, too.
    """
    types = [event["type"] for event in house.api.events()]
    return 1 <= types.count("machine.disconnected") == types.count("machine.reconnected") - 1


def test_a_run_goes_on_through_an_outage_and_its_result_counts(bare: House) -> None:
    house, proxy = bare, open_behind(bare)
    live, journal = house.live(), Journal(house.hands)
    task = house.send("hold:outage and paint")
    journal.wait_for("begins", task=task)
    proxy.swallow()
    gone = wait_until_disconnected(house)
    assert "lost" == house.wait_for_task(task, "pending")["released_cause"]
    proxy.mend()
    live.wait_for("machine.reconnected", after=gone)
    journal.open_gate("outage")
    done = house.wait_for_task(task, "completed")
    assert (1, []) == (done["attempt"], done["late_results"])
    assert [1] == journal.attempts("begins", task)


def test_a_result_of_an_outage_is_handed_in_after_it(bare: House) -> None:
    house, proxy, journal = bare, open_behind(bare), Journal(bare.hands)
    task = house.send("hold:outage and paint")
    journal.wait_for("begins", task=task)
    proxy.cut()
    wait_until_disconnected(house)
    journal.open_gate("outage")
    journal.wait_for("ends", task=task)
    proxy.mend()
    assert 1 == house.wait_for_task(task, "completed")["attempt"]
    wait_until(lambda: house.heard_by_user(), "the reviewer's answer comes")
    assert 2 == len(journal.lines("begins"))


def shows(told: str, daemon_connected: bool) -> bool:
    """Return whether the last whole line of `status --watch --json` shows that."""
    last = told[: told.rfind("\n")].rpartition("\n")[2]
    return bool(last) and [daemon_connected] == [each["daemon_connected"] for each in json.loads(last)["machines"]]
