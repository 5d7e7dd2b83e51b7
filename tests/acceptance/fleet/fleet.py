"""One server and several machines with agents at work, and all that can be seen of them. Must not know any fault."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from tests.acceptance.fleet.checks import complaints
from tests.acceptance.fleet.diaries import Diaries, Run
from tests.acceptance.fleet.evidence import Budget, Death, Evidence, Silence
from tests.acceptance.fleet.machine import Machine
from tests.acceptance.fleet.network import open_network
from tests.acceptance.house import QUICK, ROOM, House
from tests.acceptance.waiting import PATIENCE_S, NotYet, wait_until

DURATIONS = QUICK | {
    "GREENROOM_PARK_AFTER_ENDS": "1000",
    "GREENROOM_TASK_DEATHS_MAX": "1000",
    "GREENROOM_TAKEOVER_GRACE_S": "5",
}
"""Nothing is parked or quarantined by the many deaths of a test, unless the test is about that."""

INTERVAL_S = float(QUICK["GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S"])
TTL_S = float(QUICK["GREENROOM_DAEMON_HEARTBEAT_TTL_S"])
FREE_WITHIN_S = TTL_S + float(QUICK["GREENROOM_TASK_LOST_AFTER_S"]) + float(QUICK["GREENROOM_SWEEP_INTERVAL_S"])
TAKEOVER_S = float(DURATIONS["GREENROOM_TAKEOVER_GRACE_S"])
LONGER_THAN_TTL_S = TTL_S + 1.0
SLACK_S = 0.8
HEALED_WITHIN_S = INTERVAL_S + SLACK_S
"""Invariant H: an interval, and a little for two round trips and a commit on a busy computer."""
REPORT = "HEALING_REPORT"
ALLOWANCE_S = 0.0 if REPORT in os.environ else 3.0
"""What healing may take beyond its promise where other tests run beside it. Where figures are taken, nothing."""
START_S = 3.0
"""What a process may take to start on such a computer: it is promised nowhere, and no part of healing."""


class Fleet:
    """A room with a role for each agent, run by the machines in turn, and an idle one for each machine."""

    def __init__(self, house: House, machines: int, network: str | None = None) -> None:
        self.house = house
        self.network = open_network(machines, network)
        house.host = self.network.host
        self.diaries = Diaries(house.root / "diaries")
        self.machines = [
            Machine(house, f"m{number}", place, self.diaries.folder) for number, place in enumerate(self.network.places)
        ]
        self.roles: list[str] = []
        self._busy = self.machines
        self._is_closed = False
        self.sent: list[str] = []
        self.silences: list[Silence] = []
        self.deaths: list[Death] = []
        self.budget = Budget(ttl_s=TTL_S)

    def open(self, agents: int, on: Sequence[Machine] = ()) -> None:
        """Start the server and every daemon, and wish `agents` onto them by turns; all wait for work on return."""
        self._busy = list(on) or self.machines
        self.house.start_server()
        self.roles = [f"r{number}" for number in range(agents)]
        idle = [idle_role_of(machine) for machine in self.machines]
        self.house.api.post("rooms", name=ROOM, roles=[*self.roles, *idle], max_requests=1000)
        for machine in self.machines:
            machine.write_team(ROOM, [*self.roles, *idle])
            machine.launch()
        for machine in self.machines:
            machine.wait_until_connected()
        for number, role in enumerate(self.roles):
            self.wish(role, self._busy[number % len(self._busy)])
        for machine in self.machines:
            self.wish(idle_role_of(machine), machine)
        for role in [*self.roles, *idle]:
            self.house.wait_for_status(role, "waiting")

    def wish(self, role: str, machine: Machine, **more: object) -> None:
        """Wish that this machine runs the role's agent."""
        body = {"kind": "remote", "machine": machine.name, "harness": f"{ROOM}.{role}"} | more
        answer = self.house.api.call("PUT", f"rooms/{ROOM}/roles/{role}/agent", body)
        assert answer.status == 200, answer

    def send(self, role: str, text: str) -> str:
        task = self.house.send(text, to=role)
        self.sent.append(task)
        return task

    def begin(self, role: str, text: str) -> Run:
        """Give a role work, and wait until its first run has begun."""
        return self.diaries.wait_for(self.send(role, text))

    def begin_all(self, text: str, roles: Sequence[str] = ()) -> list[Run]:
        """Give every role the same work, and wait until all are at it."""
        tasks = [self.send(role, text) for role in roles or self.roles]
        return [self.diaries.wait_for(task) for task in tasks]

    def finish(self, *gates: str, deadline_s: float = 2 * PATIENCE_S) -> dict[str, list[int]]:
        """Let everybody come to the end, so that each task is completed; which of its attempts was accepted, by role.

        A task that is closed stays so.
        """
        for gate in gates:
            self.diaries.open_gate(gate)
        accepted: dict[str, list[int]] = {}
        for task in self.sent:
            if self.house.task(task)["status"] != "closed":
                done = self.house.wait_for_task(task, "completed", deadline_s)
                accepted.setdefault(done["target_role"], []).append(done["accepted_attempt"])
        return accepted

    def machine_of(self, role: str) -> Machine:
        return self._busy[self.roles.index(role) % len(self._busy)]

    def is_whole(self) -> bool:
        """Tell whether every machine is shown online and every role seated. Raises NotYet."""
        for machine in self.machines:
            if not machine.is_connected():
                raise NotYet(f"{machine.name} is not connected")
        standing = {role["name"]: role["status"] for role in self.house.room()["roles"]}
        if away := {role: status for role, status in standing.items() if status not in ("waiting", "working")}:
            raise NotYet(away)
        return True

    def heals(self, since: float, within_s: float = HEALED_WITHIN_S) -> float:
        """See that all are back so soon after `since` (of the monotonic clock); the seconds that it took.

        What is shown may be old. So each machine's idle agent is given work: that is run only where a claim stands.
        """
        probes = [self.send(idle_role_of(machine), "hello") for machine in self.machines]

        def is_healed() -> bool:
            return self.is_whole() and all(self.diaries.runs(task) for task in probes)

        wait_until(
            is_healed, "every machine and every agent is back", within_s + ALLOWANCE_S + since - time.monotonic()
        )
        return time.monotonic() - since

    def evidence(self) -> Evidence:
        """All that can be seen now."""
        tasks: dict[str, Any] = {}
        while page := self.house.api.get(
            f"rooms/{ROOM}/tasks?limit=1000{f'&after={list(tasks)[-1]}' if tasks else ''}"
        ):
            tasks |= {task["id"]: task for task in page}
        return Evidence(
            events=self.house.api.events(),
            tasks=tasks,
            runs=self.diaries.runs(),
            answered=self.sent,
            silences=self.silences,
            deaths=self.deaths,
            budget=self.budget,
        )

    def check(self) -> Evidence:
        """Hold every promise against what was seen."""
        seen = self.evidence()
        assert [] == complaints(seen)
        return seen

    def close(self) -> None:
        """End all of it, the server last, and take the network away."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            for machine in self.machines:
                machine.close()
            self.house.close()
        finally:
            self.network.close()


def idle_role_of(machine: Machine) -> str:
    """The role that this machine runs and a test gives no work."""
    return f"idle-{machine.name}"


def leader_of(run: Run) -> int:
    """The process that leads the run's session: the wrapper of its command."""
    return os.getsid(run.pid)


def kill(*pids: int) -> float:
    """Kill them; when that was, by the wall clock."""
    at = time.time()
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return at


def fleet_environment(**changed: str) -> Mapping[str, str]:
    return DURATIONS | changed
