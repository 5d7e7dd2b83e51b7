"""A real agent that waits behind a line that is cut, or goes dead without a word, comes back by itself."""

from __future__ import annotations

import time
from functools import partial

import pytest

from tests.acceptance.house import QUICK, ROOM, House
from tests.acceptance.processes import Started
from tests.acceptance.waiting import wait_until

pytestmark = pytest.mark.process

INTERVAL_S = float(QUICK["GREENROOM_HEARTBEAT_INTERVAL_S"])
TTL_S = float(QUICK["GREENROOM_HEARTBEAT_TTL_S"])
SWEEP_S = float(QUICK["GREENROOM_SWEEP_INTERVAL_S"])
SLACK_S = 0.8
"""Two round trips, one commit, and the time for a noisy machine to give us the processor. Less than an interval."""


@pytest.mark.parametrize("outage", ["cut", "swallow", "late"])
def test_wait_for_task_comes_back_by_itself(house: House, outage: str) -> None:
    proxy, live = house.proxy(), house.live()
    agent = house.start("wait-for-task", ROOM, "--role", "builder", url=proxy.url)
    before = wait_until(house.seat, "the agent waits")

    proxy.cut() if outage == "cut" else proxy.swallow()
    live.wait_for("participant.expired", role="builder")
    assert agent.poll() is None
    time.sleep(INTERVAL_S)  # whatever it tries again meanwhile finds nobody
    mended_at = time.monotonic()
    proxy.mend(late=outage == "late")
    back = live.wait_for("participant.rejoined", role="builder")

    assert back.at - mended_at <= INTERVAL_S + SLACK_S, f"back after {back.at - mended_at:.2f} s"
    assert before["connection_id"] == house.seat()["connection_id"]
    task = house.send("paint the door")
    sent_at = time.monotonic()
    assert agent.wait() == 0
    assert live.wait_for("task.claimed", task=task).at - sent_at <= SLACK_S, "no claim was standing"
    assert task in agent.out
    assert "paint the door" in agent.out
    assert len(agent.err_lines("warning:")) == 1, agent.err
    assert before["connection_id"] == house.task(task)["claimed_by"]
    assert [1, 1] == [house.api.count(kind) for kind in ("participant.expired", "participant.rejoined")]


def test_two_outages_are_two_warnings(house: House) -> None:
    proxy, live = house.proxy(), house.live()
    agent = house.start("wait-for-task", ROOM, "--role", "builder", url=proxy.url)
    wait_until(house.seat, "the agent waits")
    back = None
    for outages in (1, 2):
        proxy.cut()
        gone = live.wait_for("participant.expired", after=back)
        proxy.mend()
        back = live.wait_for("participant.rejoined", after=gone)
        wait_until(partial(has_warned, agent, outages), "it has said so")
    assert not live.find("participant.superseded")


def test_an_outage_shorter_than_the_ttl_is_nothing_to_speak_of(house: House) -> None:
    proxy = house.proxy()
    agent = house.start("wait-for-task", ROOM, "--role", "builder", url=proxy.url)
    wait_until(house.seat, "the agent waits")
    proxy.cut()
    time.sleep(TTL_S / 3)
    proxy.mend()
    task = house.send("paint the door")
    assert agent.wait() == 0
    assert task in agent.out
    assert [] == agent.err_lines("warning:")
    assert 0 == house.api.count("participant.expired")


def test_whoever_took_the_vacant_role_keeps_it(house: House) -> None:
    proxy, live = house.proxy(), house.live()
    older = house.start("wait-for-task", ROOM, "--role", "builder", url=proxy.url)
    gone = wait_until(house.seat, "the first one waits")["connection_id"]
    proxy.swallow()
    live.wait_for("participant.expired", connection_id=gone)
    newer = house.start("wait-for-task", ROOM, "--role", "builder")
    kept = wait_until(house.seat, "the second one waits")["connection_id"]
    proxy.mend(late=True)

    assert older.wait() == 4
    assert "Stop" in older.err
    assert "call again" not in older.err
    assert [] == older.err_lines("warning:")
    here = f"rooms/{ROOM}/participants/builder"
    for call in ("join", "heartbeat"):
        assert "superseded" == house.api.call("POST", f"{here}/{call}", {"connection_id": gone}).body["status"]
    assert kept == house.seat()["connection_id"]
    task = house.send("paint the door")
    assert newer.wait() == 0
    assert kept == house.task(task)["claimed_by"]


def test_who_is_killed_is_removed_when_its_lease_ends_and_not_before(house: House) -> None:
    live = house.live()
    agent = house.start("wait-for-task", ROOM, "--role", "builder")
    wait_until(house.seat, "it waits")
    time.sleep(2 * INTERVAL_S)
    agent.kill()
    killed_at = time.monotonic()
    expired = live.wait_for("participant.expired", role="builder")
    assert TTL_S - INTERVAL_S <= expired.at - killed_at <= TTL_S + SWEEP_S + SLACK_S
    assert "vacant" == house.role()["status"]


def has_warned(agent: Started, times: int) -> bool:
    return times == len(agent.err_lines("warning:"))
