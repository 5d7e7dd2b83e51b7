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

from tests.process.crash.api_connection import ApiConnection
from tests.process.crash.failing_agents import AgentRecord, FailingAgents, FailureKind
from tests.process.crash.killed_work import KilledWork
from tests.process.crash.load_room import POSTGRESQL, SQLITE
from tests.process.installation import Installation
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

ROOMS = ("attic", "cellar", "garden", "stable")
ROLES = ("baker", "cooper", "dyer", "farmer", "miller", "potter", "smith", "weaver")
WORK_PROCESSES = 6
"""The roles, in the long form, in which `greenroom work` runs and is killed."""
SHORT_LEASES = {
    "GREENROOM_HEARTBEAT_INTERVAL_S": "1",
    "GREENROOM_HEARTBEAT_TTL_S": "3",
    "GREENROOM_SWEEP_INTERVAL_S": "0.2",
    "GREENROOM_TASK_LOST_AFTER_S": "1",
    "GREENROOM_STOP_GRACE_S": "0.5",
    "GREENROOM_TAKEOVER_GRACE_S": "1",
}
"""Short leases, so that silent agents are soon replaced. One that expires on a busy computer rejoins."""

BOTH_DATABASES = pytest.mark.parametrize("database", [SQLITE, POSTGRESQL], indirect=True)


@pytest.fixture
def server_settings() -> Mapping[str, str]:
    """The agents here send no heartbeats: each claim renews their lease."""
    return SHORT_LEASES


def create_rooms(installation: Installation) -> None:
    installation.start_server()
    for room in ROOMS:
        installation.run("room", "create", room, "--roles", ",".join(ROLES), "--max-requests", "1000")


def open_tasks(installation: Installation, number: int) -> set[str]:
    """Open so many tasks, spread over all roles; return their ids."""
    opened = set()
    with closing(ApiConnection(installation.url, installation.token)) as connection:
        for job in range(number):
            room, role = ROOMS[job % 4], ROLES[job // 4 % 8]
            body = {"sender": "user", "text": f"job {job}", "to": role}
            opened.add(connection.request("POST", f"rooms/{room}/messages", body).body["task"]["id"])
    assert len(opened) == number
    return opened


def make_agents(
    installation: Installation, record: AgentRecord, failure_kinds: tuple[FailureKind, ...], seed: int, kills: int = 0
) -> list[FailingAgents | KilledWork]:
    """The agents of each role; `failure_kinds` are spread over them. With `kills`, processes work in the last roles."""
    rng = random.Random(seed)
    all_roles = [(room, role) for room in ROOMS for role in ROLES]
    agent_roles = all_roles[: len(all_roles) - (WORK_PROCESSES if kills else 0)]
    kinds_by_role: dict[tuple[str, str], list[FailureKind]] = {agent_role: [] for agent_role in agent_roles}
    for number, failure_kind in enumerate(failure_kinds):
        kinds_by_role[agent_roles[number % len(agent_roles)]].append(failure_kind)
    return [
        FailingAgents(
            *agent_role,
            lambda: ApiConnection(installation.url, installation.token),
            record,
            kinds_by_role[agent_role],
            random.Random(rng.random()),
        )
        for agent_role in agent_roles
    ] + [
        KilledWork(installation, *agent_role, record, kills, random.Random(rng.random()))
        for agent_role in all_roles[len(agent_roles) :]
    ]


def count_open_tasks(installation: Installation) -> int:
    """The number of tasks that are not completed."""
    return sum(len(installation.api.get(f"rooms/{room}")["tasks"]) for room in ROOMS)


def run_until_completed(installation: Installation, workers: list[FailingAgents | KilledWork]) -> None:
    for agents in workers:
        agents.start()
    try:
        while number := count_open_tasks(installation):
            wait_until(partial(has_fewer_open, installation, number), f"one more of {number} tasks is completed")
    finally:
        for agents in workers:
            agents.is_over.set()
        for agents in workers:
            agents.join(PATIENCE_S)


def has_fewer_open(installation: Installation, number: int) -> bool:
    return count_open_tasks(installation) < number


def check_tasks(installation: Installation, opened: set[str], record: AgentRecord) -> Counter[int]:
    """Compare log, tasks and messages with what the agents recorded; return how many tasks took how many attempts."""
    assert [] == record.complaints
    events = installation.api.events()
    tasks = {task["id"]: task for room in ROOMS for task in pages(installation, f"rooms/{room}/tasks")}
    assert opened == set(tasks)
    assert {"completed"} == {task["status"] for task in tasks.values()}
    completed = Counter(event["data"]["task"] for event in events if event["type"] == "task.completed")
    assert Counter(opened) == completed, "each task is accepted once"
    results = Counter(message["text"] for room in ROOMS for message in messages_to_user(installation, room))
    assert results == Counter(f"{task['text']} is done" for task in tasks.values()), "the user gets each result once"
    assert set(record.accepted) <= opened
    assert len(record.accepted) == len(set(record.accepted)), "no result is accepted twice"
    for event in events:
        if event["type"] in ("task.claimed", "task.started"):
            data = event["data"]
            if data["attempt"] != tasks[data["task"]]["accepted_attempt"]:
                assert data["connection_id"] in record.failed, f"taken from an agent that had not failed: {event}"
    late = Counter(result["connection_id"] for task in tasks for result in installation.task(task)["late_results"])
    assert len(record.too_late) == sum(late.values()), "late results were kept"
    assert set(late) <= record.failed
    return Counter(task["attempt"] for task in tasks.values())


def pages(installation: Installation, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while page := installation.api.get(f"{path}?limit=1000" + (f"&after={found[-1]['id']}" if found else "")):
        found += page
    return found


def messages_to_user(installation: Installation, room: str) -> list[dict[str, Any]]:
    return [message for message in pages(installation, f"rooms/{room}/messages") if message["to"] == "user"]


def check_accepted_once(
    installation: Installation, jobs: int, failure_kinds: tuple[FailureKind, ...], seed: int, kills: int = 0
) -> None:
    create_rooms(installation)
    opened = open_tasks(installation, jobs)
    record = AgentRecord()
    began_at = time.monotonic()
    run_until_completed(installation, make_agents(installation, record, failure_kinds, seed, kills))
    took_s = time.monotonic() - began_at
    attempts = check_tasks(installation, opened, record)
    print(
        f"{jobs} tasks in 32 roles in {took_s:.1f} s (seed {seed}): {len(record.failed)} agents failed"
        f" ({Counter(kind.name for kind in record.failures)}), tasks by attempts {dict(attempts)},"
        f" {len(record.too_late)} results came too late"
    )
    assert len(record.failed) >= len(failure_kinds) * 0.8, "most planned failures happened"
    assert attempts[1] < jobs, "some agents failed during a task"


@BOTH_DATABASES
def test_tasks_accepted_once_with_failing_agents(bare: Installation) -> None:
    check_accepted_once(bare, 320, (*FailureKind, *FailureKind, FailureKind.EXITED, FailureKind.REPLACED) * 3, seed=5)


@pytest.mark.prove
@BOTH_DATABASES
def test_thousand_tasks_with_failing_agents(bare: Installation) -> None:
    check_accepted_once(bare, 1000, tuple(FailureKind) * 24, seed=55, kills=5)
