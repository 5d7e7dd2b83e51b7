"""A seeded sequence of faults while tasks come in: every promise holds at the end."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping

import pytest

from tests.acceptance.fleet.conftest import Build
from tests.acceptance.fleet.diaries import Run
from tests.acceptance.fleet.fleet import HEALED_WITHIN_S, LAPSING, RESTS_S_MAX, TTL_S, Fleet, kill, leader_of
from tests.acceptance.fleet.healing import report
from tests.acceptance.processes import is_alive

pytestmark = [pytest.mark.process, pytest.mark.prove]

AGENTS = 9
FAULTS = 25
START_S = 3.0
STOP_S = 2.0
"""Seconds for a daemon to start, and for a run to be stopped: not part of the promised recovery time."""
Fault = Callable[["Day"], None]


@pytest.fixture
def durations() -> Mapping[str, str]:
    return LAPSING


class Day:
    """Sends work to a fleet, and injects faults."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.fleet, self.rng = fleet, random.Random(seed)

    def give_work(self, count: int) -> None:
        for _ in range(count):
            role = self.rng.choice(self.fleet.roles)
            self.fleet.send(role, f"for:{self.rng.uniform(0.1, 4):.2f}" + self.rng.choice(("", " fork")))

    def at_work(self) -> list[Run]:
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
        server = self.fleet.house.server
        assert server is not None
        server.kill()
        time.sleep(self.rng.uniform(0, 1.3 * TTL_S))
        self.fleet.house.start_server()

    def freeze_daemon(self) -> None:
        self.pause(self.rng.choice(self.fleet.machines).pid)

    def freeze_server(self) -> None:
        assert self.fleet.house.server is not None
        self.pause(self.fleet.house.server.pid)

    def cut_off(self) -> None:
        place = self.rng.choice(self.fleet.machines).place
        place.cut()
        time.sleep(self.rng.uniform(0.5, 1.6 * TTL_S))
        place.mend()

    def move(self) -> None:
        """Assign a role to a random machine."""
        self.fleet.wish(self.rng.choice(self.fleet.roles), self.rng.choice(self.fleet.machines))

    def restart(self) -> None:
        """Stop a daemon properly, and start it again."""
        machine = self.rng.choice(self.fleet.machines)
        machine.close()
        machine.launch()


FAULT: dict[str, Fault] = {
    "agents killed": Day.kill_agents,
    "a daemon killed": Day.kill_daemon,
    "the server killed": Day.kill_server,
    "a daemon stopped and continued": Day.freeze_daemon,
    "the server stopped and continued": Day.freeze_server,
    "a network cut": Day.cut_off,
    "a role moved": Day.move,
    "a daemon restarted": Day.restart,
}


@pytest.mark.parametrize("seed", [int(word) for word in os.environ.get("FAULT_SEEDS", "1 2 3 4").split()])
def test_a_day_of_faults(build: Build, seed: int) -> None:
    fleet = build(machines=3)
    fleet.open(agents=AGENTS)
    day = Day(fleet, seed)
    for number in range(FAULTS):
        day.give_work(6)
        time.sleep(day.rng.uniform(0, 1.5))
        name = day.rng.choice(list(FAULT))
        print(f"{number}: {name}")
        FAULT[name](day)
        promised_s = HEALED_WITHIN_S + START_S + RESTS_S_MAX + STOP_S
        report(f"in a long run of faults, {name}: all online again", fleet.heals(time.monotonic()), promised_s)
    fleet.finish()
    fleet.check()
