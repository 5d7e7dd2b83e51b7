"""A real daemon with its agents whose line is cut, or goes dead without a word, comes back by itself."""

from __future__ import annotations

import json
import time

import pytest

from tests.acceptance.api import instant
from tests.acceptance.house import QUICK, House
from tests.acceptance.journal import Journal
from tests.acceptance.waiting import wait_until

pytestmark = pytest.mark.process

INTERVAL_S = float(QUICK["GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S"])
SLACK_S = 0.8
SEEN_WITHIN_S = 1.0


def start_team(house: House, url: str) -> None:
    house.start_daemon(url)
    for role in ("builder", "reviewer"):
        house.wish(role)
    for role in ("builder", "reviewer"):
        house.wait_for_status(role, "waiting")


@pytest.mark.parametrize("outage", ["cut", "swallow", "late"])
def test_a_machine_and_its_agents_come_back_by_themselves(house: House, outage: str) -> None:
    proxy, live, journal = house.proxy(), house.live(), Journal(house.hands)
    start_team(house, proxy.url)
    watch = house.start("status", "--watch", "--json")
    before = {role: house.seat(role) for role in ("builder", "reviewer")}

    proxy.cut() if outage == "cut" else proxy.swallow()
    gone = live.wait_for("machine.disconnected")
    assert not house.machine()["daemon_connected"]
    wait_until(lambda: shows(watch.out, False), "status --watch shows it", SEEN_WITHIN_S)
    time.sleep(INTERVAL_S)
    mended_at = time.monotonic()
    proxy.mend(late=outage == "late")
    back = live.wait_for("machine.reconnected", after=gone)

    assert back.at - mended_at <= INTERVAL_S + SLACK_S, f"back after {back.at - mended_at:.2f} s"
    assert house.machine()["daemon_connected"]
    wait_until(lambda: shows(watch.out, True), "status --watch shows it", SEEN_WITHIN_S)
    for seen in (gone, back):
        assert seen.at_wall - instant(seen.event) <= SEEN_WITHIN_S
    after = {role: house.seat(role) for role in ("builder", "reviewer")}
    for role, seat in before.items():
        assert (seat["connection_id"], seat["epoch"]) == (after[role]["connection_id"], after[role]["epoch"])
    task = house.send("paint the door")
    sent_at = time.monotonic()
    assert live.wait_for("task.claimed", task=task).at - sent_at <= SLACK_S, "no claim was standing"
    wait_until(lambda: house.heard_by_user(), "the result comes back")
    assert [1] == journal.attempts("begins", task)
    assert 2 == len(journal.lines("begins"))
    assert [1, 2] == [house.api.count(kind) for kind in ("machine.disconnected", "machine.reconnected")]
    assert 0 == house.api.count("participant.superseded")


def test_a_run_goes_on_through_an_outage_and_its_result_counts(house: House) -> None:
    proxy, live, journal = house.proxy(), house.live(), Journal(house.hands)
    start_team(house, proxy.url)
    task = house.send("hold:outage and paint")
    journal.wait_for("begins", task=task)
    proxy.swallow()
    gone = live.wait_for("machine.disconnected")
    live.wait_for("task.released", task=task)
    assert "lost" == house.task(task)["released_cause"]
    proxy.mend()
    live.wait_for("machine.reconnected", after=gone)
    journal.open_gate("outage")
    done = house.wait_for_task(task, "completed")
    assert (1, []) == (done["attempt"], done["late_results"])
    assert [1] == journal.attempts("begins", task)


def test_a_result_of_an_outage_is_handed_in_after_it(house: House) -> None:
    proxy, live, journal = house.proxy(), house.live(), Journal(house.hands)
    start_team(house, proxy.url)
    task = house.send("hold:outage and paint")
    journal.wait_for("begins", task=task)
    proxy.cut()
    live.wait_for("machine.disconnected")
    journal.open_gate("outage")
    journal.wait_for("ends", task=task)
    proxy.mend()
    assert 1 == house.wait_for_task(task, "completed")["attempt"]
    wait_until(lambda: house.heard_by_user(), "the reviewer's answer comes")
    assert 2 == len(journal.lines("begins"))


def shows(told: str, daemon_connected: bool) -> bool:
    """Tell whether the last whole line of `status --watch --json` says so."""
    last = told[: told.rfind("\n")].rpartition("\n")[2]
    return bool(last) and [daemon_connected] == [each["daemon_connected"] for each in json.loads(last)["machines"]]
