"""A seeded sequence of faults while tasks come in: every promise holds at the end."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping

import pytest

from tests.process.fleet.conftest import BuildFleet
from tests.process.fleet.diaries import AgentRun
from tests.process.fleet.fleet import (
    BACKOFF_S_MAX,
    RECOVERED_WITHIN_S,
    SHORT_LEASES,
    TTL_S,
    MachineFleet,
    kill,
    leader_of,
)
from tests.process.fleet.recovery import report
from tests.process.processes import is_alive

pytestmark = [pytest.mark.process, pytest.mark.prove]

AGENTS = 9
FAULTS_TOTAL = 25
START_S = 3.0
STOP_S = 2.0
"""Seconds for a daemon to start, and for a run to be stopped: not part of the promised recovery time."""
Fault = Callable[["FaultRun"], None]


@pytest.fixture
def durations() -> Mapping[str, str]:
    return SHORT_LEASES


class FaultRun:
    """Sends work to a fleet, and injects faults."""

    def __init__(self, fleet: MachineFleet, seed: int) -> None:
        self.fleet, self.rng = fleet, random.Random(seed)

    def give_work(self, count: int) -> None:
        for _ in range(count):
            role = self.rng.choice(self.fleet.roles)
            self.fleet.send(role, f"for:{self.rng.uniform(0.1, 4):.2f}" + self.rng.choice(("", " fork")))

    def at_work(self) -> list[AgentRun]:
        return [run for run in self.fleet.diaries.runs() if run.end is None and is_alive(run.pid)]

    def pause(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self.rng.uniform(0.5, 1.3 * TTL_S))
        os.kill(pid, signal.SIGCONT)

    # The faults.

    def kill_agents(self) -> None:
        runs = self.at_work()
        chosen = self.rng.sample(runs, k=min(len(runs), self.rng.randint(1, 3)))
        kill(*(run.pid if self.rng.random() < 0.5 else leader_of(run) for run in chosen if is_alive(run.pid)))

    def kill_daemon(self) -> None:
        machine = self.rng.choice(self.fleet.machines)
        machine.kill()
        time.sleep(self.rng.uniform(0, 1.3 * TTL_S))
        machine.launch()

    def kill_server(self) -> None:
        server = self.fleet.installation.server
        assert server is not None
        server.kill()
        time.sleep(self.rng.uniform(0, 1.3 * TTL_S))
        self.fleet.installation.start_server()

    def suspend_daemon(self) -> None:
        self.pause(self.rng.choice(self.fleet.machines).pid)

    def suspend_server(self) -> None:
        assert self.fleet.installation.server is not None
        self.pause(self.fleet.installation.server.pid)

    def cut_off(self) -> None:
        link = self.rng.choice(self.fleet.machines).link
        link.cut()
        time.sleep(self.rng.uniform(0.5, 1.6 * TTL_S))
        link.restore()

    def move(self) -> None:
        """Assign a role to a random machine."""
        self.fleet.assign(self.rng.choice(self.fleet.roles), self.rng.choice(self.fleet.machines))

    def restart(self) -> None:
        """Stop a daemon properly, and start it again."""
        machine = self.rng.choice(self.fleet.machines)
        machine.close()
        machine.launch()


FAULT_BY_NAME: dict[str, Fault] = {
    "agents killed": FaultRun.kill_agents,
    "a daemon killed": FaultRun.kill_daemon,
    "the server killed": FaultRun.kill_server,
    "a daemon stopped and continued": FaultRun.suspend_daemon,
    "the server stopped and continued": FaultRun.suspend_server,
    "a network cut": FaultRun.cut_off,
    "a role moved": FaultRun.move,
    "a daemon restarted": FaultRun.restart,
}


@pytest.mark.parametrize("seed", [int(word) for word in os.environ.get("FAULT_SEEDS", "1 2 3 4").split()])
def test_random_faults(build_fleet: BuildFleet, seed: int) -> None:
    fleet = build_fleet(machines=3)
    fleet.start(agents=AGENTS)
    fault_run = FaultRun(fleet, seed)
    for number in range(FAULTS_TOTAL):
        fault_run.give_work(6)
        time.sleep(fault_run.rng.uniform(0, 1.5))
        name = fault_run.rng.choice(list(FAULT_BY_NAME))
        print(f"{number}: {name}")
        FAULT_BY_NAME[name](fault_run)
        promised_s = RECOVERED_WITHIN_S + START_S + BACKOFF_S_MAX + STOP_S
        report(
            f"in a long run of faults, {name}: all online again",
            fleet.wait_until_recovered(time.monotonic()),
            promised_s,
        )
    fleet.finish()
    fleet.check()
