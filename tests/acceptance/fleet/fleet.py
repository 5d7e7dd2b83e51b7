"""One server and several machines with agents at work, and all that can be seen of them. Must not know any fault."""

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

from tests.acceptance.fleet.checks import complaints
from tests.acceptance.fleet.diaries import Diaries, Run
from tests.acceptance.fleet.evidence import Budget, Death, Event, Evidence, Silence
from tests.acceptance.fleet.machine import Machine
from tests.acceptance.fleet.network import open_network
from tests.acceptance.house import CALM, ROOM, House
from tests.acceptance.processes import is_alive
from tests.waiting import NotYet, wait_until

INTERVAL = "GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S"
TTL = "GREENROOM_DAEMON_HEARTBEAT_TTL_S"
SWEEP = "GREENROOM_SWEEP_INTERVAL_S"
LOST_AFTER = "GREENROOM_TASK_LOST_AFTER_S"
TAKEOVER_GRACE = "GREENROOM_TAKEOVER_GRACE_S"

DURATIONS = CALM | {
    INTERVAL: "400",
    "GREENROOM_PARK_AFTER_ENDS": "1000",
    "GREENROOM_TASK_DEATHS_MAX": "1000",
}
"""No lease runs out, and no beat is due while a test waits for anything: what comes, comes because somebody is told.

Nothing is parked or quarantined by the many deaths of a test either, unless the test is about that.
"""

BEATING = DURATIONS | {INTERVAL: CALM[INTERVAL]}
OFTEN = {INTERVAL: "2"}
"""For what is heard by a beat. The server says how often to beat, and a daemon's own interval how long to wait for an
answer; no lease runs out.
"""

LAPSING = DURATIONS | {
    INTERVAL: "4",
    TTL: "16",
    "GREENROOM_HEARTBEAT_INTERVAL_S": "4",
    "GREENROOM_HEARTBEAT_TTL_S": "16",
    SWEEP: "0.2",
    LOST_AFTER: "2",
    TAKEOVER_GRACE: "5",
}
"""For a machine whose lease has to run out. Another one's may do so, too, on a slow computer: it comes back."""

INTERVAL_S, TTL_S = float(LAPSING[INTERVAL]), float(LAPSING[TTL])
LOST_AFTER_S, TAKEOVER_S = float(LAPSING[LOST_AFTER]), float(LAPSING[TAKEOVER_GRACE])
RESTS_S_MAX = float(DURATIONS["GREENROOM_RESTART_PAUSE_S_MAX"])
LONGER_THAN_TTL_S = TTL_S + 1.0
ROUND_TRIPS_S = 0.8
"""Two of them and a commit, on a busy computer."""
HEALED_WITHIN_S = INTERVAL_S + ROUND_TRIPS_S
"""Invariant H, where leases are short. It stands beside what is reported, and judges nothing."""


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
        self.budget = Budget()

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

    def finish(self, *gates: str) -> dict[str, list[int]]:
        """Let everybody come to the end, so that each task is completed; which of its attempts was accepted, by role.

        A task that is closed stays so.
        """
        for gate in gates:
            self.diaries.open_gate(gate)
        accepted: dict[str, list[int]] = {}
        for task in self.sent:
            if self.house.task(task)["status"] != "closed":
                done = self.house.wait_for_task(task, "completed")
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

    def sittings(self) -> dict[str, str]:
        """Who is present in each role now, by connection."""
        return {each["role"]: each["connection_id"] for each in self.house.room()["participants"]}

    def heals(self, since: float) -> float:
        """Wait until all are back; the seconds that it took from `since`, by the monotonic clock.

        What is shown may be old. So each machine's idle agent is given work: that is run only where a claim stands.
        """
        probes = {self.send(idle_role_of(machine), "hello"): machine for machine in self.machines}
        wait_until(
            lambda: self.is_whole() and all(self.diaries.runs(task) for task in probes),
            "every machine and every agent is back",
        )
        took_s = time.monotonic() - since
        for task, machine in probes.items():
            assert [(1, machine.name)] == [(run.attempt, run.machine) for run in self.diaries.runs(task)]
        assert {"ok"} >= set(self.beats()), "the first beat that is answered brings a machine back"
        return took_s

    def told(self, kind: str, **data: object) -> list[Event]:
        """The events of a type with that data, in their order."""
        return [
            each for each in self.house.api.events() if each["type"] == kind and data.items() <= each["data"].items()
        ]

    def beats(self) -> Counter[str]:
        """How many beats of machines the server has answered since it was started, by verdict."""
        page = self.house.api.call("GET", "/metrics").body.decode()
        [family] = [each for each in text_string_to_metric_families(page) if each.name == "greenroom_beats"]
        machines = [sample for sample in family.samples if sample.labels["of"] == "machine"]
        return Counter({sample.labels["verdict"]: int(sample.value) for sample in machines})

    def end_silence(self, machine: Machine, began_at: float) -> None:
        """Note that a machine could not be heard from then until now, while what it runs is seen to live."""
        ended_at = time.time()
        for run in self.diaries.runs():
            if run.machine == machine.name:
                wait_until(partial(self._is_over_or_lived, run, ended_at), f"a sign of life of {run}, or its end")
        self.silences.append(Silence(machine.name, began_at, ended_at))

    def _is_over_or_lived(self, run: Run, at: float) -> bool:
        """Tell whether a run is over, or was alive at that instant."""
        return not is_alive(run.pid) or self.diaries.now(run).last_at >= at

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
