"""A real agent waits behind a connection that is reset, or stalls: it reconnects and rejoins by itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from tests.acceptance.api import ROUNDED_S, Live, instant
from tests.acceptance.house import LAPSING, RETRYING, ROOM, House
from tests.acceptance.processes import Started
from tests.acceptance.proxy import Passed, Proxy
from tests.waiting import wait_until

pytestmark = pytest.mark.process

INTERVAL_S = float(LAPSING["GREENROOM_HEARTBEAT_INTERVAL_S"])
KEPT = LAPSING | {"GREENROOM_TASK_LOST_AFTER_S": "3600"}
"""Leases expire, and yet no holder loses its task."""
OUTLASTING = {"GREENROOM_HEARTBEAT_INTERVAL_S": "2", "GREENROOM_HEARTBEAT_TTL_S": "60"}
"""Heartbeats are frequent, and a lease outlasts many missed ones."""


def start_agent(house: House, proxy: Proxy) -> Started:
    agent = house.start("wait-for-task", ROOM, "--role", "builder", url=proxy.url, **RETRYING)
    wait_until(house.seat, "the agent waits")
    return agent


def wait_until_removed(house: House) -> int:
    """Wait until no participant is present any more; return the log's position by then."""
    wait_until(lambda: not house.room()["participants"], "the participant expires")
    return house.api.position()


@pytest.mark.parametrize("outage", ["cut", "swallow", "late"])
def test_wait_for_task_comes_back_by_itself(bare: House, outage: str) -> None:
    house = bare.open(**KEPT)
    proxy, live = house.proxy(), house.live()
    agent = start_agent(house, proxy)
    before = wait_until(house.seat, "the agent waits")

    proxy.cut() if outage == "cut" else proxy.swallow()
    gone = wait_until_removed(house)
    assert live.wait_for("participant.expired", role="builder").event["pos"] <= gone
    assert agent.poll() is None
    time.sleep(INTERVAL_S)  # its retries meanwhile reach no server
    passed_before = len(proxy.passed)
    proxy.mend(late=outage == "late")
    live.wait_for("participant.rejoined", after=gone, role="builder")

    check_came_back_by_one_beat(proxy.passed[passed_before:])
    assert before["connection_id"] == wait_until(house.seat, "the agent is back")["connection_id"]
    house.everybody_waits(1)
    task = house.send("paint the door")
    assert agent.wait() == 0
    claimed = live.wait_for("task.claimed", task=task).event["data"]
    assert (before["connection_id"], 1) == (claimed["connection_id"], claimed["attempt"])
    assert task in agent.out
    assert "paint the door" in agent.out
    check_warned_of_each_return(live, agent)


def test_two_outages_are_two_warnings(bare: House) -> None:
    house = bare.open(**KEPT)
    proxy, live = house.proxy(), house.live()
    agent = start_agent(house, proxy)
    for outages in (1, 2):
        proxy.cut()
        gone = wait_until_removed(house)
        proxy.mend()
        live.wait_for("participant.rejoined", after=gone)
        wait_until(partial(has_warned, agent, outages), "the agent has printed the warning")
    task = house.send("paint the door")
    assert agent.wait() == 0
    live.wait_for("task.claimed", task=task)
    check_warned_of_each_return(live, agent)
    assert not live.find("participant.superseded")


def test_an_outage_shorter_than_the_ttl_is_nothing_to_speak_of(bare: House) -> None:
    house = bare.open(**OUTLASTING)
    proxy = house.proxy()
    agent = start_agent(house, proxy)
    proxy.cut()
    time.sleep(INTERVAL_S)  # at least one heartbeat fails
    proxy.mend()
    task = house.send("paint the door")
    assert agent.wait() == 0
    assert task in agent.out
    assert [] == agent.err_lines("warning:")
    assert 0 == house.api.count("participant.expired")


def test_whoever_took_the_vacant_role_keeps_it(bare: House) -> None:
    house = bare.open(**KEPT)
    proxy, live = house.proxy(), house.live()
    older = start_agent(house, proxy)
    gone = house.seat()["connection_id"]
    proxy.swallow()
    wait_until_removed(house)
    live.wait_for("participant.expired", connection_id=gone)
    newer = house.start("wait-for-task", ROOM, "--role", "builder")
    kept = wait_until(house.seat, "the second agent waits")["connection_id"]
    proxy.mend(late=True)

    assert older.wait() == 4
    assert "Stop" in older.err
    assert "call again" not in older.err
    assert [] == older.err_lines("warning:")
    here = f"rooms/{ROOM}/participants/builder"
    for call in ("join", "heartbeat"):
        assert "superseded" == house.api.call("POST", f"{here}/{call}", {"connection_id": gone}).body["status"]
    assert kept == wait_until(house.seat, "the second agent is present")["connection_id"]
    task = house.send("paint the door")
    assert newer.wait() == 0
    assert kept == house.task(task)["claimed_by"]


def test_who_is_killed_is_removed_when_its_lease_ends_and_not_before(bare: House) -> None:
    house = bare.open(**LAPSING)
    agent = house.start("wait-for-task", ROOM, "--role", "builder")
    joined = wait_until(house.seat, "the agent waits")
    beaten = wait_until(partial(renewed, house, joined["ready_until"]), "a heartbeat has renewed its lease")
    agent.kill()
    wait_until_removed(house)
    gone = [event for event in house.api.events() if event["type"] == "participant.expired"][-1]
    assert instant(gone) - instant({"at": beaten["ready_until"]}) >= -ROUNDED_S
    assert "no heartbeat for" in gone["cause"]
    assert f"(limit {float(LAPSING['GREENROOM_HEARTBEAT_TTL_S']):g} s)" in gone["cause"]
    assert "vacant" == house.role()["status"]


def renewed(house: House, ready_until: str) -> Any:
    seat = house.seat()
    return seat if seat["ready_until"] > ready_until else None


def check_came_back_by_one_beat(passed: Sequence[Passed]) -> None:
    """Assert that an agent rejoined upon the first heartbeat that was answered, and sent nothing else before.

    A client whose request timed out does not use that connection again.
    """
    join = next(each for each in passed if each.verb == "join")
    on_line = [each for each in passed if each.line == join.line]
    assert ["heartbeat", "join"] == [each.verb for each in on_line[:2]], passed
    assert b'"rejoin_required"' in on_line[0].answer
    before = [each for each in passed[: passed.index(join)] if each.verb in ("heartbeat", "join")]
    assert len(before) == len({each.line for each in before}), "the agent ignored an answer"


def check_warned_of_each_return(live: Live, agent: Started) -> None:
    """Assert that an agent that has exited printed one warning for each rejoin (at least one), and no other."""
    returns = len(live.find("participant.rejoined"))
    assert 1 <= returns == len(agent.err_lines("warning:")), agent.err


def has_warned(agent: Started, times: int) -> bool:
    return times <= len(agent.err_lines("warning:"))
