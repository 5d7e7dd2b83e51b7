"""What `why`, `status` and `machine list` print about roles, alerts and machines, by the real command.

No daemon runs here: the test posts what a daemon would report.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.acceptance.api import Api
from tests.acceptance.house import CALM, ROOM, House
from tests.waiting import wait_until

pytestmark = pytest.mark.process

SEAT = f"{ROOM}/builder"
BEAT_EVERY_S = 0.3
SELDOM = {"GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S": "900"}
"""One heartbeat keeps a machine connected for longer than a test takes."""


class Hand:
    """A machine whose daemon is played by the test: it beats once, and joins and posts reports on request."""

    def __init__(self, house: House, name: str = "attic") -> None:
        self.id = name
        body = {"name": name, "harnesses": ["careful"], "labels": {"os": "toy"}}
        assert house.api.call("PUT", f"machines/{name}", body).status in (200, 201)
        self._api = Api(house.url, house.api.post(f"machines/{name}/token")["token"])
        self._numbers = itertools.count(1)
        self._room = house.room()["id"]
        self.connection = ""
        self.beat()

    def beat(self, incarnation: str = "inc_1") -> Any:
        agents = [{"room": self._room, "role": "builder", "connection_id": self.connection}] if self.connection else []
        body = {"incarnation": incarnation, "agents": agents}
        return self._api.call("POST", f"machines/{self.id}/heartbeat", body).body

    def keep_beating(self, is_over: threading.Event) -> None:
        while not is_over.wait(BEAT_EVERY_S):
            with contextlib.suppress(OSError):
                self.beat()

    def sit(self, connection: str) -> None:
        self.connection = connection
        path = f"rooms/{self._room}/participants/builder/join"
        assert self._api.call("POST", path, {"connection_id": connection}).status == 200

    def claim(self) -> Any:
        body = {"role": "builder", "connection_id": self.connection}
        return self._api.call("POST", f"rooms/{self._room}/tasks/claim", body).body

    def say(self, kind: str, **data: Any) -> None:
        fact = {"id": f"fact-{next(self._numbers)}", "kind": kind, "room": self._room, "role": "builder"}
        body = {"incarnation": "inc_1", "facts": [fact | {"connection_id": self.connection} | data]}
        answer = self._api.call("POST", f"machines/{self.id}/facts", body)
        assert answer.status == 200, answer


def in_time(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


@contextlib.contextmanager
def beating(hand: Hand) -> Iterator[None]:
    """Keep the machine beating, however long the commands take that read its state."""
    is_over = threading.Event()
    thread = threading.Thread(target=hand.keep_beating, args=(is_over,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.fixture
def house(bare: House) -> House:
    return bare.open(**SELDOM)


@pytest.fixture
def hand(house: House) -> Hand:
    hand = Hand(house)
    house.run("agent", "set", SEAT, "--machine", "attic", "--harness", "careful", "--reason", "let it build")
    return hand


def died(hand: Hand, connection: str, until: str) -> str:
    """Report a run that failed; return its task."""
    hand.sit(connection)
    task = hand.claim()
    on = {"task": task["id"], "attempt": task["attempt"]}
    hand.say("started", **on)
    hand.say("exited", code=3, until=until, detail="exit code 3\nno such brick", **on)
    return str(task["id"])


def test_why_tells_of_ends_parks_and_trials_with_their_causes(house: House, hand: Hand) -> None:
    house.send("lay a brick")
    task = died(hand, "c1", in_time(3000))
    told = house.run("why", SEAT).out
    assert f"{SEAT} is backing_off, restarts in " in told
    assert "desired: running, remote on attic with careful (generation 1, by operator" in told
    assert "restart_pause_s_max = 1 " in told, "the server's own limits"
    assert "as the server reports them" in told
    assert told.endswith(f"to restart it now: greenroom agent restart {SEAT}\n")

    died(hand, "c2", in_time(3000))
    hand.say("parked", until=in_time(3000), detail="2 unintended ends within 300 s, the last: exit code 3")
    told = house.run("why", SEAT).out
    assert re.search(f"{SEAT} is parked, probe run in [45][0-9] min ", told), told
    assert f"command failed for {task} (attempt 2): exit code 3 no such brick" in told
    assert ", then one probe run: 2 unintended ends within 300 s" in told
    assert "park_pause_s = 300 " in told

    hand.say("parked", detail="the probe run failed: exit code 3")
    told = house.run("why", SEAT).out
    assert f"{SEAT} is parked, until a user restarts it: the probe run failed" in told
    assert "alert raised: " in told
    assert told.endswith(f"next: fix the cause, then: greenroom agent restart {SEAT}\n")
    [need] = [need for need in house.run("status", "--json").data["needs"] if need["kind"].startswith("parked:")]
    assert (SEAT, f"greenroom why {SEAT}") == (need["where"], need["next"])

    house.run("agent", "restart", SEAT, "--reason", "bricks bought")
    hand.sit("c3")
    told = house.run("why", SEAT).out
    assert f"{SEAT} is waiting" in told
    assert "(generation 2): bricks bought" in told
    assert "alert resolved: " in told
    assert [] == [need for need in house.run("status", "--json").data["needs"] if need["kind"].startswith("parked:")]


def test_why_tells_of_a_pause_a_stop_and_a_move(house: House, hand: Hand) -> None:
    hand.sit("c1")
    hand.say("paused", until=in_time(7_170), detail="the plan's limit is reached")
    told = house.run("why", SEAT).out
    assert re.search(f"{SEAT} is paused, restarts in 1 h [45][0-9] min", told), told
    house.run("agent", "stop", SEAT, "--reason", "lunch")
    told = house.run("why", SEAT).out
    assert f"{SEAT} is stopped: lunch" in told
    assert "paused until " in told
    assert "operator set it to stopped on machine attic with careful (generation 2): lunch" in told
    assert told.endswith(f"to start it: greenroom agent start {SEAT}\n")

    Hand(house, "cellar")
    house.run("agent", "set", SEAT, "--machine", "cellar", "--desired", "running")
    told = house.run("why", SEAT).out
    assert "moved it from machine attic to machine cellar with careful (generation 3)" in told
    assert f"{SEAT} is starting, " in told


def test_why_as_one_document_has_its_keys(house: House, hand: Hand) -> None:
    told = house.run("why", SEAT, "--json").data
    assert {"room", "role", "participant", "machine", "tasks", "gaps", "events", "limits", "limits_of", "next"} <= set(
        told
    )
    interval_s = float(CALM["GREENROOM_HEARTBEAT_INTERVAL_S"])
    assert ("server", interval_s) == (told["limits_of"], told["limits"]["heartbeat_interval_s"])
    shell = house.run("why", SEAT, "--json", GREENROOM_DAEMON_HEARTBEAT_TTL_S="9000").data
    assert float(CALM["GREENROOM_DAEMON_HEARTBEAT_TTL_S"]) == shell["limits"]["daemon_heartbeat_ttl_s"]


def test_what_should_be_over_by_now_is_marked_as_late(house: House, hand: Hand) -> None:
    hand.sit("c1")
    watch = house.start("status", "--watch")
    wait_until(lambda: "waiting" in watch.out, "the agent is shown")
    house.run("agent", "stop", SEAT)
    wait_until(lambda: re.search("stopping, .* left", watch.out), "the time that is left is shown")
    assert re.search("stopping, .* left", house.run("status").out)
    assert "late by " not in watch.out

    # A server that gives daemons less time, and a daemon that reports nothing: the time runs out.
    assert house.server is not None
    house.server.kill()
    house.of_server = {"GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S": "10"}
    house.start_server()
    with beating(hand):
        wait_until(lambda: "stopping, late by " in watch.out, "the time has run out")
        assert "stopping, late by " in house.run("status").out
        told = house.run("why", SEAT).out
    assert "should have stopped by now" in told
    assert told.endswith("on machine attic: greenroom doctor\n")


def test_machines_are_listed_with_what_they_have(house: House, hand: Hand) -> None:
    listed = house.run("machine", "list").out
    assert "os=toy" in listed
    assert "careful" in listed
    assert "connected" in listed
    shown = house.run("status").out
    assert shown.index("Machines") < shown.index(f"Room {ROOM}")
    assert {"os": "toy"} == json.loads(house.run("machine", "list", "--json").out)[0]["labels"]


def test_a_task_timeout_is_kept_until_it_is_taken_off(house: House, hand: Hand) -> None:
    house.run("agent", "set", SEAT, "--task-timeout", "90")
    assert 90.0 == house.role("builder")["task_timeout_s"]
    assert "task timeout: 1 min 30 s" in house.run("why", SEAT).out
    house.run("agent", "stop", SEAT)
    assert 90.0 == house.role("builder")["task_timeout_s"]
    house.run("agent", "set", SEAT, "--task-timeout", "none")
    assert house.role("builder")["task_timeout_s"] is None
    house.run("agent", "set", SEAT, "--task-timeout", "soon", expect=2)
