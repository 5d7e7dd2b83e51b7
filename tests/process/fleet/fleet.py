"""Runs one server and several machines with agents, and observes them."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.process.fleet.checks import violations
from tests.process.fleet.diaries import AgentRun, Diaries
from tests.process.fleet.machine import FleetMachine
from tests.process.fleet.network import open_network
from tests.process.fleet.observation import Event, HolderFailure, Observation, RestartBudget, Silence
from tests.process.installation import BASE_DURATIONS, ROOM, Installation
from tests.process.processes import is_alive
from tests.waiting import NotYet, wait_until

INTERVAL = "GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S"
TTL = "GREENROOM_DAEMON_HEARTBEAT_TTL_S"
SWEEP = "GREENROOM_SWEEP_INTERVAL_S"
LOST_AFTER = "GREENROOM_TASK_LOST_AFTER_S"
TAKEOVER_GRACE = "GREENROOM_TAKEOVER_GRACE_S"

DURATIONS = BASE_DURATIONS | {
    INTERVAL: "400",
    "GREENROOM_CRASH_LOOP_AFTER_FAILURES": "1000",
    "GREENROOM_TASK_FAILURES_MAX": "1000",
}
"""No lease expires, and no heartbeat is due during a test: what happens, happens because of a notification.

The many failures of a test make no agent crash-looping and quarantine no task either, unless the test is about that.
"""

REGULAR_HEARTBEATS = DURATIONS | {INTERVAL: BASE_DURATIONS[INTERVAL]}
FREQUENT_HEARTBEATS = {INTERVAL: "2"}
"""For tests of heartbeats. The server says how often to beat, and a daemon's own interval sets its request timeout; no
lease expires.
"""

SHORT_LEASES = DURATIONS | {
    INTERVAL: "4",
    TTL: "16",
    "GREENROOM_HEARTBEAT_INTERVAL_S": "4",
    "GREENROOM_HEARTBEAT_TTL_S": "16",
    SWEEP: "0.2",
    LOST_AFTER: "2",
    TAKEOVER_GRACE: "5",
}
"""For a machine whose lease has to expire. Another one's may expire, too, on a slow computer: it reconnects."""

INTERVAL_S, TTL_S = float(SHORT_LEASES[INTERVAL]), float(SHORT_LEASES[TTL])
LOST_AFTER_S, TAKEOVER_S = float(SHORT_LEASES[LOST_AFTER]), float(SHORT_LEASES[TAKEOVER_GRACE])
BACKOFF_S_MAX = float(DURATIONS["GREENROOM_RESTART_BACKOFF_S_MAX"])
LONGER_THAN_TTL_S = TTL_S + 1.0
ROUND_TRIPS_S = 0.8
"""Two round trips and a commit, on a busy computer."""
RECOVERED_WITHIN_S = INTERVAL_S + ROUND_TRIPS_S
"""The promised time for recovery (invariant H) where leases are short. It is reported beside the figures, and not
asserted.
"""


class MachineFleet:
    """A room with a role for each agent, assigned to the machines in turn, and an idle role for each machine."""

    def __init__(self, installation: Installation, machines: int, network: str | None = None) -> None:
        self.installation = installation
        self.network = open_network(machines, network)
        installation.host = self.network.host
        self.diaries = Diaries(installation.root / "diaries")
        self.machines = [
            FleetMachine(installation, f"m{number}", link, self.diaries.folder)
            for number, link in enumerate(self.network.links)
        ]
        self.roles: list[str] = []
        self._busy = self.machines
        self._is_closed = False
        self.sent: list[str] = []
        self.silences: list[Silence] = []
        self.failures: list[HolderFailure] = []
        self.budget = RestartBudget()

    def start(self, agents: int, on: Sequence[FleetMachine] = ()) -> None:
        """Start the server and every daemon, and assign `agents` to them in turn; all wait for work on return."""
        self._busy = list(on) or self.machines
        self.installation.start_server()
        self.roles = [f"r{number}" for number in range(agents)]
        idle = [idle_role_of(machine) for machine in self.machines]
        self.installation.api.post("rooms", name=ROOM, roles=[*self.roles, *idle], max_requests=1000)
        for machine in self.machines:
            machine.write_team(ROOM, [*self.roles, *idle])
            machine.launch()
        for machine in self.machines:
            machine.wait_until_connected()
        for number, role in enumerate(self.roles):
            self.assign(role, self._busy[number % len(self._busy)])
        for machine in self.machines:
            self.assign(idle_role_of(machine), machine)
        for role in [*self.roles, *idle]:
            self.installation.wait_for_status(role, "waiting")

    def assign(self, role: str, machine: FleetMachine, **more: object) -> None:
        """Assign the role's agent to this machine."""
        body = {"kind": "remote", "machine": machine.name, "harness": f"{ROOM}.{role}"} | more
        answer = self.installation.api.call("PUT", f"rooms/{ROOM}/roles/{role}/agent", body)
        assert answer.status == 200, answer

    def send(self, role: str, text: str) -> str:
        task = self.installation.send(text, to=role)
        self.sent.append(task)
        return task

    def begin(self, role: str, text: str) -> AgentRun:
        """Send a role a task, and wait until its first run has begun."""
        return self.diaries.wait_for(self.send(role, text))

    def begin_all(self, text: str, roles: Sequence[str] = ()) -> list[AgentRun]:
        """Send every role the same text, and wait until all runs have begun."""
        tasks = [self.send(role, text) for role in roles or self.roles]
        return [self.diaries.wait_for(task) for task in tasks]

    def finish(self, *gates: str) -> dict[str, list[int]]:
        """Open gates, and wait until each task is completed; return the accepted attempts, by role.

        Closed tasks are skipped.
        """
        for gate in gates:
            self.diaries.open_gate(gate)
        accepted: dict[str, list[int]] = {}
        for task in self.sent:
            if self.installation.task(task)["status"] != "closed":
                done = self.installation.wait_for_task(task, "completed")
                accepted.setdefault(done["target_role"], []).append(done["accepted_attempt"])
        return accepted

    def machine_of(self, role: str) -> FleetMachine:
        return self._busy[self.roles.index(role) % len(self._busy)]

    def is_online(self) -> bool:
        """Return True if every machine is connected and every role waits or works. Raises NotYet."""
        for machine in self.machines:
            if not machine.is_connected():
                raise NotYet(f"{machine.name} is not connected")
        statuses = {role["name"]: role["status"] for role in self.installation.room()["roles"]}
        if away := {role: status for role, status in statuses.items() if status not in ("waiting", "working")}:
            raise NotYet(away)
        return True

    def connections(self) -> dict[str, str]:
        """The connection of the present participant of each role."""
        return {each["role"]: each["connection_id"] for each in self.installation.room()["participants"]}

    def wait_until_recovered(self, since: float) -> float:
        """Wait until all machines and agents work again; return the seconds since `since`, by the monotonic clock.

        The API may show an old state. So each machine's idle agent is sent a task, which runs only if a claim waits.
        """
        probes = {self.send(idle_role_of(machine), "hello"): machine for machine in self.machines}
        wait_until(
            lambda: self.is_online() and all(self.diaries.runs(task) for task in probes),
            "every machine and every agent is online",
        )
        took_s = time.monotonic() - since
        for task, machine in probes.items():
            assert [(1, machine.name)] == [(run.attempt, run.machine) for run in self.diaries.runs(task)]
        assert {"ok"} >= set(self.heartbeats()), "the first answered heartbeat reconnects a machine"
        return took_s

    def events_of(self, kind: str, **data: object) -> list[Event]:
        """The events of a type with that data, in their order."""
        return [
            each
            for each in self.installation.api.events()
            if each["type"] == kind and data.items() <= each["data"].items()
        ]

    def heartbeats(self) -> Counter[str]:
        """How many heartbeats of machines the server has answered since its start, by verdict."""
        page = self.installation.api.call("GET", "/metrics").body.decode()
        [family] = [each for each in text_string_to_metric_families(page) if each.name == "greenroom_beats"]
        machines = [sample for sample in family.samples if sample.labels["of"] == "machine"]
        return Counter({sample.labels["verdict"]: int(sample.value) for sample in machines})

    def record_silence(self, machine: FleetMachine, began_at: float) -> None:
        """Record that a machine was silent from then until now, once all its runs were seen alive or have ended."""
        ended_at = time.time()
        for run in self.diaries.runs():
            if run.machine == machine.name:
                wait_until(partial(self._has_ended_or_lived, run, ended_at), f"a diary line of {run}, or its end")
        self.silences.append(Silence(machine.name, began_at, ended_at))

    def _has_ended_or_lived(self, run: AgentRun, at: float) -> bool:
        """Return whether a run has ended, or was alive at that instant."""
        return not is_alive(run.pid) or self.diaries.now(run).last_at >= at

    def observe(self) -> Observation:
        """All that can be observed now."""
        tasks: dict[str, Any] = {}
        while page := self.installation.api.get(
            f"rooms/{ROOM}/tasks?limit=1000{f'&after={list(tasks)[-1]}' if tasks else ''}"
        ):
            tasks |= {task["id"]: task for task in page}
        return Observation(
            events=self.installation.api.events(),
            tasks=tasks,
            runs=self.diaries.runs(),
            answered=self.sent,
            silences=self.silences,
            failures=self.failures,
            budget=self.budget,
        )

    def check(self) -> Observation:
        """Assert every promise on what is observed now, and return that."""
        observed = self.observe()
        assert [] == violations(observed)
        return observed

    def close(self) -> None:
        """End all processes, the server last, and remove the network."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            for machine in self.machines:
                machine.close()
            self.installation.close()
        finally:
            self.network.close()


def idle_role_of(machine: FleetMachine) -> str:
    """The role of this machine that gets no tasks from a test."""
    return f"idle-{machine.name}"


def leader_of(run: AgentRun) -> int:
    """The shim: the process that leads the run's session."""
    return os.getsid(run.pid)


def kill(*pids: int) -> float:
    """Kill these processes; return the instant, by the wall clock."""
    at = time.time()
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return at
