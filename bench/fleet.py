"""Measures recovery after a server kill: how soon 10,000 agents are back, and how evenly their requests arrive.

The daemons are simulated in one client process over real sockets (`bench.simulated_daemons`); the server is the real
one.
"""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Final, NamedTuple

import uvloop

from bench.joined_agents import join_machines
from bench.server_process import RunningServer, describe_server, free_port, start_server
from bench.simulated_daemons import INTERVAL_S, SimulatedDaemon
from bench.table import BenchmarkResult, Comparison, Goal, Row
from greenroom.loop import freeze_garbage_collector

MACHINES: Final = 500
AGENTS: Final = 20
AWAY_S: Final = 5.0
WARM_S: Final = 1.5 * INTERVAL_S
INTERVALS: Final = 2
POLL_S: Final = 0.1
PAGE: Final = 100


class RestartTimes(NamedTuple):
    """Times of the restart, by the monotonic clock: server started, server listening, all agents back."""

    started_at: float
    listening_at: float
    recovered_at: float


def measure() -> BenchmarkResult:
    """Join all agents, let them beat, kill the server, start it again, and record their requests for two intervals."""
    sent: list[float] = []
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
        times = uvloop.run(run_scenario(Path(folder) / "state", free_port(), sent))
    return build_result(sent, times)


async def run_scenario(data_dir: Path, port: int, sent: list[float]) -> RestartTimes:
    """Run the scenario. The server is started and queried from threads, so that the daemons never wait for that."""
    with ExitStack() as stack:
        first, url = await asyncio.to_thread(stack.enter_context, start_server(data_dir, port=port))
        greenroom = describe_server(data_dir, url, first.pid)
        seats = await asyncio.to_thread(join_machines, greenroom, MACHINES, AGENTS)
        daemons = [SimulatedDaemon(greenroom, name, held, sent) for name, held in seats.items()]
        running = asyncio.create_task(run_all(daemons))
        freeze_garbage_collector()  # A round of the cycle collector would stop all of them at once.
        try:
            await asyncio.wait([running], timeout=WARM_S)
            first.kill()
            await asyncio.wait([running], timeout=AWAY_S)
            begun_at = time.monotonic()
            await asyncio.to_thread(stack.enter_context, start_server(data_dir, port=port))
            back_at = time.monotonic()
            while not have_recovered(daemons, back_at) and not running.done():
                await asyncio.wait([running], timeout=POLL_S)
            well_at = time.monotonic()
            await asyncio.to_thread(check_fleet, greenroom)
            await asyncio.wait([running], timeout=back_at + INTERVALS * INTERVAL_S - time.monotonic())
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
    return RestartTimes(begun_at, back_at, well_at)


async def run_all(daemons: Sequence[SimulatedDaemon]) -> None:
    """Run all daemons until one of them raises, or until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        for daemon in daemons:
            tasks.create_task(daemon.run(tasks))


def have_recovered(daemons: Sequence[SimulatedDaemon], back_at: float) -> bool:
    """Whether every machine has beaten, and every long-poll call stands again, since the server came back."""
    times = [daemon.last_beat_at for daemon in daemons]
    times += [call.sent_at for daemon in daemons for call in daemon.long_polls()]
    return all(at is not None and at >= back_at for at in times)


def check_fleet(greenroom: RunningServer) -> None:
    """Check that the server shows all machines connected and all agents; else raise `RuntimeError`."""
    with closing(greenroom.session()) as operator:
        after, machines, agents = None, 0, 0
        while page := operator.machines(after, PAGE):
            machines += sum(machine.daemon_connected for machine in page)
            agents += sum(len(machine.agents) for machine in page)
            after = page[-1].id
    if (machines, agents) != (MACHINES, MACHINES * AGENTS):
        raise RuntimeError(f"the server shows {machines} machines and {agents} agents")


def build_result(sent: Sequence[float], times: RestartTimes) -> BenchmarkResult:
    """Rows for the time until all were back, and for the busiest second of each interval."""
    fleet = f"{MACHINES * AGENTS:,} agents on {MACHINES} daemons"
    rows = [
        Row(
            label=f"{fleet}, server killed for {AWAY_S:g} s: until all are well again",
            figure=times.recovered_at - times.listening_at,
            unit="s",
            comparison=Comparison("one interval", INTERVAL_S),
            goal=Goal("<=", 1, "ratio"),
        )
    ]
    for number in range(INTERVALS):
        rates = count_per_second(sent, times.listening_at + number * INTERVAL_S)
        rows.append(
            Row(
                label=f"their requests in the {('first', 'second')[number]} interval after that, busiest second",
                figure=max(rates),
                unit="requests/s",
                comparison=Comparison("mean of the interval", sum(rates) / len(rates)),
                goal=Goal("<=", 3, "ratio"),
                samples=tuple(rates),
            )
        )
    return BenchmarkResult(
        tuple(rows),
        (
            f"default intervals of {INTERVAL_S:g} s, counted from when the server printed that it listens, "
            f"{times.listening_at - times.started_at:.1f} s after it was started again",
        ),
    )


def count_per_second(sent: Sequence[float], begins_at: float) -> list[float]:
    """Requests in each second of one interval."""
    counted = Counter(int(at - begins_at) for at in sent if at >= begins_at)
    return [float(counted[second]) for second in range(int(INTERVAL_S))]
