"""Thirty-two agents work at once and fail at any moment: every task is accepted exactly once."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from tests.acceptance.crash.line import Line
from tests.acceptance.crash.mortals import End, Register, Seat
from tests.acceptance.crash.workshops import Workshop
from tests.acceptance.crash.yard import POSTGRESQL, SQLITE
from tests.acceptance.house import House
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

ROOMS = ("attic", "cellar", "garden", "stable")
ROLES = ("baker", "cooper", "dyer", "farmer", "miller", "potter", "smith", "weaver")
PROCESSES = 6
"""The roles, in the long form, in which `greenroom work` runs and is killed."""
MORTAL = {
    "GREENROOM_HEARTBEAT_INTERVAL_S": "1",
    "GREENROOM_HEARTBEAT_TTL_S": "3",
    "GREENROOM_SWEEP_INTERVAL_S": "0.2",
    "GREENROOM_TASK_LOST_AFTER_S": "1",
    "GREENROOM_STOP_GRACE_S": "0.5",
    "GREENROOM_TAKEOVER_GRACE_S": "1",
}
"""Short leases, so that silent agents are soon replaced. One that expires on a busy computer rejoins."""

BOTH = pytest.mark.parametrize("database", [SQLITE, POSTGRESQL], indirect=True)


@pytest.fixture
def of_server() -> Mapping[str, str]:
    """The agents here send no heartbeats: each claim renews their lease."""
    return MORTAL


def furnish(house: House) -> None:
    house.start_server()
    for room in ROOMS:
        house.run("room", "create", room, "--roles", ",".join(ROLES), "--max-requests", "1000")


def give_out(house: House, number: int) -> set[str]:
    """Open so many tasks, spread over all roles; return their ids."""
    opened = set()
    with closing(Line(house.url, house.token)) as line:
        for job in range(number):
            room, role = ROOMS[job % 4], ROLES[job // 4 % 8]
            body = {"sender": "user", "text": f"job {job}", "to": role}
            opened.add(line.ask("POST", f"rooms/{room}/messages", body).body["task"]["id"])
    assert len(opened) == number
    return opened


def seats(house: House, register: Register, ends: tuple[End, ...], seed: int, kills: int = 0) -> list[Seat | Workshop]:
    """The agents of each role; `ends` are spread over them. With `kills`, processes work in the last roles."""
    rng = random.Random(seed)
    every = [(room, role) for room in ROOMS for role in ROLES]
    places = every[: len(every) - (PROCESSES if kills else 0)]
    lives: dict[tuple[str, str], list[End]] = {place: [] for place in places}
    for number, end in enumerate(ends):
        lives[places[number % len(places)]].append(end)
    return [
        Seat(*place, lambda: Line(house.url, house.token), register, lives[place], random.Random(rng.random()))
        for place in places
    ] + [Workshop(house, *place, register, kills, random.Random(rng.random())) for place in every[len(places) :]]


def left(house: House) -> int:
    """The number of tasks that are not completed."""
    return sum(len(house.api.get(f"rooms/{room}")["tasks"]) for room in ROOMS)


def work_to_the_end(house: House, crowd: list[Seat | Workshop]) -> None:
    for seat in crowd:
        seat.start()
    try:
        while number := left(house):
            wait_until(partial(is_fewer, house, number), f"one more of {number} tasks is completed")
    finally:
        for seat in crowd:
            seat.is_over.set()
        for seat in crowd:
            seat.join(PATIENCE_S)


def is_fewer(house: House, number: int) -> bool:
    return left(house) < number


def check_tasks(house: House, opened: set[str], register: Register) -> Counter[int]:
    """Compare log, tasks and messages with what the agents recorded; return how many tasks took how many attempts."""
    assert [] == register.complaints
    events = house.api.events()
    tasks = {task["id"]: task for room in ROOMS for task in pages(house, f"rooms/{room}/tasks")}
    assert opened == set(tasks)
    assert {"completed"} == {task["status"] for task in tasks.values()}
    completed = Counter(event["data"]["task"] for event in events if event["type"] == "task.completed")
    assert Counter(opened) == completed, "each task is accepted once"
    results = Counter(message["text"] for room in ROOMS for message in heard(house, room))
    assert results == Counter(f"{task['text']} is done" for task in tasks.values()), "the user gets each result once"
    assert set(register.accepted) <= opened
    assert len(register.accepted) == len(set(register.accepted)), "no result is accepted twice"
    for event in events:
        if event["type"] in ("task.claimed", "task.started"):
            told = event["data"]
            if told["attempt"] != tasks[told["task"]]["accepted_attempt"]:
                assert told["connection_id"] in register.dead, f"taken from an agent that had not failed: {event}"
    late = Counter(result["connection_id"] for task in tasks for result in house.task(task)["late_results"])
    assert len(register.too_late) == sum(late.values()), "late results were kept"
    assert set(late) <= register.dead
    return Counter(task["attempt"] for task in tasks.values())


def pages(house: House, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while page := house.api.get(f"{path}?limit=1000" + (f"&after={found[-1]['id']}" if found else "")):
        found += page
    return found


def heard(house: House, room: str) -> list[dict[str, Any]]:
    return [message for message in pages(house, f"rooms/{room}/messages") if message["to"] == "user"]


def prove_once_each(house: House, jobs: int, ends: tuple[End, ...], seed: int, kills: int = 0) -> None:
    furnish(house)
    opened = give_out(house, jobs)
    register = Register()
    began_at = time.monotonic()
    work_to_the_end(house, seats(house, register, ends, seed, kills))
    took_s = time.monotonic() - began_at
    attempts = check_tasks(house, opened, register)
    print(
        f"{jobs} tasks in 32 roles in {took_s:.1f} s (seed {seed}): {len(register.dead)} agents failed"
        f" ({Counter(end.name for end in register.ends)}), tasks by attempts {dict(attempts)},"
        f" {len(register.too_late)} results came too late"
    )
    assert len(register.dead) >= len(ends) * 0.8, "most planned failures happened"
    assert attempts[1] < jobs, "some agents failed during a task"


@BOTH
def test_every_task_is_accepted_once_though_agents_die(bare: House) -> None:
    prove_once_each(bare, 320, (*End, *End, End.EXITED, End.REPLACED) * 3, seed=5)


@pytest.mark.prove
@BOTH
def test_a_thousand_tasks(bare: House) -> None:
    prove_once_each(bare, 1000, tuple(End) * 24, seed=55, kills=5)
