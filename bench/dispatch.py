"""Measures dispatch latency: from sending a message until the waiting agent has its task."""

import asyncio
import random
import time
from typing import Final

import uvloop

from bench.commits import time_commits
from bench.sample import median, percentile
from bench.server_process import run_server
from bench.table import BenchmarkResult, Comparison, Row
from bench.task_client import TaskClient
from greenroom.wire.replies import ClaimedTask

WAIT_S: Final = 25.0
SETTLE_S: Final = 0.02
"""Pause that lets the claim reach the server, before the message that it waits for is sent."""
SPREAD_S: Final = 0.5
"""The pause is longer by up to this much, at random, where many rooms are measured at the same time."""
SECONDS: Final = 6.0
ROOMS: Final = 32
COMMITS_ON_THE_WAY: Final = 2
"""The message with its task, and the claim: each is on the disk before it is answered."""


def measure() -> BenchmarkResult:
    """Measure with one room, and with 32 at once."""
    commits = time_commits()
    with run_server() as greenroom:
        alone = uvloop.run(run_dispatches([TaskClient(greenroom, "alone")], 0.0))
        many = uvloop.run(run_dispatches([TaskClient(greenroom, f"room{number}") for number in range(ROOMS)], SPREAD_S))
    commits += time_commits()
    floor = [COMMITS_ON_THE_WAY * commit_s * 1e3 for commit_s in commits]
    rows = [
        Row(
            label=f"dispatch, message sent to task in hand, {label}: p{percent}",
            figure=percentile(latencies, percent),
            unit="ms",
            comparison=Comparison(
                f"{COMMITS_ON_THE_WAY} bare commits of SQLite, p{percent}", percentile(floor, percent)
            ),
            samples=tuple(latencies),
        )
        for label, latencies in (("1 room", alone), (f"{ROOMS} rooms", many))
        for percent in (50, 99)
    ]
    notes = (
        f"{len(alone)} dispatches in one room; {len(many)} in {ROOMS} rooms, {len(many) / SECONDS:.0f} a second",
        f"one durable commit of one row by SQLite alone took {1e3 * median(commits):.2f} ms (median)",
    )
    return BenchmarkResult(tuple(rows), notes)


async def run_dispatches(errands: list[TaskClient], spread_s: float) -> list[float]:
    """Milliseconds of each dispatch, in all rooms together."""
    ends_at = time.perf_counter() + SECONDS
    per_room = await asyncio.gather(*(dispatch_repeatedly(errand, ends_at, spread_s) for errand in errands))
    return [latency for latencies in per_room for latency in latencies]


async def dispatch_repeatedly(errand: TaskClient, ends_at: float, spread_s: float) -> list[float]:
    """Milliseconds of each dispatch in one room: claim, wait until the claim stands, send, receive the task."""
    await errand.connect()
    latencies = []
    while time.perf_counter() < ends_at:
        claim = asyncio.create_task(claim_and_time(errand))
        await asyncio.sleep(SETTLE_S + spread_s * random.random())
        sent_at = time.perf_counter()
        opened = await errand.open_task()
        task, had_at = await claim
        if task.id != opened.id:
            raise RuntimeError(f"opened {opened.id}, but the claim was answered with {task.id}")
        latencies.append((had_at - sent_at) * 1e3)
        await errand.complete(task)
    errand.close()
    return latencies


async def claim_and_time(errand: TaskClient) -> tuple[ClaimedTask, float]:
    """The claimed task, and when it arrived."""
    task = await errand.claim(WAIT_S)
    return task, time.perf_counter()
