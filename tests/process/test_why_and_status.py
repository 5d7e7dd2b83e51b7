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

from tests.process.api import Api
from tests.process.installation import BASE_DURATIONS, ROOM, Installation
from tests.waiting import wait_until

pytestmark = pytest.mark.process

ROLE = f"{ROOM}/builder"
BEAT_EVERY_S = 0.3
RARE_HEARTBEATS = {"GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S": "900"}
"""One heartbeat keeps a machine connected for longer than a test takes."""


class FakeMachine:
    """A machine whose daemon is played by the test: it beats once, and joins and posts reports on request."""

    def __init__(self, installation: Installation, name: str = "attic") -> None:
        self.id = name
        body = {"name": name, "harnesses": ["careful"], "labels": {"os": "toy"}}
        assert installation.api.call("PUT", f"machines/{name}", body).status in (200, 201)
        self._api = Api(installation.url, installation.api.post(f"machines/{name}/token")["token"])
        self._numbers = itertools.count(1)
        self._room = installation.room()["id"]
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

    def join(self, connection: str) -> None:
        self.connection = connection
        path = f"rooms/{self._room}/participants/builder/join"
        assert self._api.call("POST", path, {"connection_id": connection}).status == 200

    def claim(self) -> Any:
        body = {"role": "builder", "connection_id": self.connection}
        return self._api.call("POST", f"rooms/{self._room}/tasks/claim", body).body

    def report(self, kind: str, **data: Any) -> None:
        report_body = {"id": f"report-{next(self._numbers)}", "kind": kind, "room": self._room, "role": "builder"}
        body = {"incarnation": "inc_1", "reports": [report_body | {"connection_id": self.connection} | data]}
        answer = self._api.call("POST", f"machines/{self.id}/reports", body)
        assert answer.status == 200, answer


def instant_in(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


@contextlib.contextmanager
def keep_beating_while(machine: FakeMachine) -> Iterator[None]:
    """Keep the machine beating, however long the commands take that read its state."""
    is_over = threading.Event()
    thread = threading.Thread(target=machine.keep_beating, args=(is_over,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.fixture
def installation(bare: Installation) -> Installation:
    return bare.start_with_room(**RARE_HEARTBEATS)


@pytest.fixture
def machine(installation: Installation) -> FakeMachine:
    machine = FakeMachine(installation)
    installation.run("agent", "set", ROLE, "--machine", "attic", "--harness", "careful", "--reason", "let it build")
    return machine


def fail_run(machine: FakeMachine, connection: str, until: str) -> str:
    """Report a run that failed; return its task."""
    machine.join(connection)
    task = machine.claim()
    on = {"task": task["id"], "attempt": task["attempt"]}
    machine.report("started", **on)
    machine.report("exited", code=3, until=until, detail="exit code 3\nno such brick", **on)
    return str(task["id"])


def test_why_of_failures_crash_loop_and_probe_run(installation: Installation, machine: FakeMachine) -> None:
    installation.send("lay a brick")
    task = fail_run(machine, "c1", instant_in(3000))
    output = installation.run("why", ROLE).out
    assert f"{ROLE} is backing_off, restarts in " in output
    assert "desired: running, remote on attic with careful (generation 1, by operator" in output
    assert "restart_backoff_s_max = 1 " in output, "the server's own limits"
    assert "as the server reports them" in output
    assert output.endswith(f"to restart it now: greenroom agent restart {ROLE}\n")

    fail_run(machine, "c2", instant_in(3000))
    machine.report(
        "crash_looping", until=instant_in(3000), detail="2 unintended ends within 300 s, the last: exit code 3"
    )
    output = installation.run("why", ROLE).out
    assert re.search(f"{ROLE} is crash_looping, probe run in [45][0-9] min ", output), output
    assert f"command failed for {task} (attempt 2): exit code 3 no such brick" in output
    assert ", then one probe run: 2 unintended ends within 300 s" in output
    assert "crash_loop_probe_after_s = 300 " in output

    machine.report("crash_looping", detail="the probe run failed: exit code 3")
    output = installation.run("why", ROLE).out
    assert f"{ROLE} is crash_looping, until a user restarts it: the probe run failed" in output
    assert "alert raised: " in output
    assert output.endswith(f"next: fix the cause, then: greenroom agent restart {ROLE}\n")
    [alert] = [
        alert for alert in installation.run("status", "--json").data["needs"] if alert["kind"] == "crash_looping"
    ]
    assert (ROLE, f"greenroom why {ROLE}") == (f"{alert['room']}/{alert['role']}", alert["next"])

    installation.run("agent", "restart", ROLE, "--reason", "bricks bought")
    machine.join("c3")
    output = installation.run("why", ROLE).out
    assert f"{ROLE} is waiting" in output
    assert "(generation 2): bricks bought" in output
    assert "alert resolved: " in output
    assert [] == [
        alert for alert in installation.run("status", "--json").data["needs"] if alert["kind"] == "crash_looping"
    ]


def test_why_of_pause_stop_and_move(installation: Installation, machine: FakeMachine) -> None:
    machine.join("c1")
    machine.report("paused", until=instant_in(7_170), detail="the plan's limit is reached")
    output = installation.run("why", ROLE).out
    assert re.search(f"{ROLE} is paused, restarts in 1 h [45][0-9] min", output), output
    installation.run("agent", "stop", ROLE, "--reason", "lunch")
    output = installation.run("why", ROLE).out
    assert f"{ROLE} is stopped: lunch" in output
    assert "paused until " in output
    assert "operator set it to stopped on machine attic with careful (generation 2): lunch" in output
    assert output.endswith(f"to start it: greenroom agent start {ROLE}\n")

    FakeMachine(installation, "cellar")
    installation.run("agent", "set", ROLE, "--machine", "cellar", "--desired", "running")
    output = installation.run("why", ROLE).out
    assert "moved it from machine attic to machine cellar with careful (generation 3)" in output
    assert f"{ROLE} is starting, " in output


def test_why_json_keys(installation: Installation, machine: FakeMachine) -> None:
    output = installation.run("why", ROLE, "--json").data
    assert {"room", "role", "participant", "machine", "tasks", "gaps", "events", "limits", "limits_of", "next"} <= set(
        output
    )
    interval_s = float(BASE_DURATIONS["GREENROOM_HEARTBEAT_INTERVAL_S"])
    assert ("server", interval_s) == (output["limits_of"], output["limits"]["heartbeat_interval_s"])
    shell = installation.run("why", ROLE, "--json", GREENROOM_DAEMON_HEARTBEAT_TTL_S="9000").data
    assert float(BASE_DURATIONS["GREENROOM_DAEMON_HEARTBEAT_TTL_S"]) == shell["limits"]["daemon_heartbeat_ttl_s"]


def test_overdue_stop_is_shown_as_late(installation: Installation, machine: FakeMachine) -> None:
    machine.join("c1")
    watch = installation.start("status", "--watch")
    wait_until(lambda: "waiting" in watch.out, "the agent is shown")
    installation.run("agent", "stop", ROLE)
    wait_until(lambda: re.search("stopping, .* left", watch.out), "the time that is left is shown")
    assert re.search("stopping, .* left", installation.run("status").out)
    assert "late by " not in watch.out

    # A server that gives daemons less time, and a daemon that reports nothing: the time runs out.
    assert installation.server is not None
    installation.server.kill()
    installation.server_settings = {"GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S": "10"}
    installation.start_server()
    with keep_beating_while(machine):
        wait_until(lambda: "stopping, late by " in watch.out, "the time has run out")
        assert "stopping, late by " in installation.run("status").out
        output = installation.run("why", ROLE).out
    assert "should have stopped by now" in output
    assert output.endswith("on machine attic: greenroom doctor\n")


def test_machine_list_shows_labels_and_harnesses(installation: Installation, machine: FakeMachine) -> None:
    listed = installation.run("machine", "list").out
    assert "os=toy" in listed
    assert "careful" in listed
    assert "connected" in listed
    shown = installation.run("status").out
    assert shown.index("Machines") < shown.index(f"Room {ROOM}")
    assert {"os": "toy"} == json.loads(installation.run("machine", "list", "--json").out)[0]["labels"]


def test_task_timeout_is_kept_until_removed(installation: Installation, machine: FakeMachine) -> None:
    installation.run("agent", "set", ROLE, "--task-timeout", "90")
    assert 90.0 == installation.role("builder")["task_timeout_s"]
    assert "task timeout: 1 min 30 s" in installation.run("why", ROLE).out
    installation.run("agent", "stop", ROLE)
    assert 90.0 == installation.role("builder")["task_timeout_s"]
    installation.run("agent", "set", ROLE, "--task-timeout", "none")
    assert installation.role("builder")["task_timeout_s"] is None
    installation.run("agent", "set", ROLE, "--task-timeout", "soon", expect=2)
