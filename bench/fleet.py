"""Measures recovery after a server kill: how soon 10,000 agents are back, and how evenly their requests arrive.

The daemons are simulated in one client process over real sockets (`bench.flock`); the server is the real one.
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

from bench.flock import INTERVAL_S, Daemon
from bench.house import House, free_port, house_at, server
from bench.seating import seat_machines
from bench.table import Beside, Goal, Piece, Row
from greenroom.lifecycle import settle_memory

MACHINES: Final = 500
AGENTS: Final = 20
AWAY_S: Final = 5.0
WARM_S: Final = 1.5 * INTERVAL_S
INTERVALS: Final = 2
LOOK_S: Final = 0.1
PAGE: Final = 100


class Return(NamedTuple):
    """Times of the restart, by the monotonic clock: server started, server listening, all agents back."""

    begun_at: float
    back_at: float
    well_at: float


def measure() -> Piece:
    """Join all agents, let them beat, kill the server, start it again, and record their requests for two intervals."""
    sent: list[float] = []
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
        times = uvloop.run(watch(Path(folder) / "state", free_port(), sent))
    return conclude(sent, times)


async def watch(data_dir: Path, port: int, sent: list[float]) -> Return:
    """Run the scenario. The server is started and queried from threads, so that the daemons never wait for that."""
    with ExitStack() as stack:
        first, url = await asyncio.to_thread(stack.enter_context, server(data_dir, port=port))
        greenroom = house_at(data_dir, url, first.pid)
        seats = await asyncio.to_thread(seat_machines, greenroom, MACHINES, AGENTS)
        daemons = [Daemon(greenroom, name, held, sent) for name, held in seats.items()]
        running = asyncio.create_task(run_all(daemons))
        settle_memory()  # A round of the cycle collector would stop all of them at once.
        try:
            await asyncio.wait([running], timeout=WARM_S)
            first.kill()
            await asyncio.wait([running], timeout=AWAY_S)
            begun_at = time.monotonic()
            await asyncio.to_thread(stack.enter_context, server(data_dir, port=port))
            back_at = time.monotonic()
            while not are_well(daemons, back_at) and not running.done():
                await asyncio.wait([running], timeout=LOOK_S)
            well_at = time.monotonic()
            await asyncio.to_thread(check, greenroom)
            await asyncio.wait([running], timeout=back_at + INTERVALS * INTERVAL_S - time.monotonic())
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
    return Return(begun_at, back_at, well_at)


async def run_all(daemons: Sequence[Daemon]) -> None:
    """Run all daemons until one of them raises, or until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        for daemon in daemons:
            tasks.create_task(daemon.run(tasks))


def are_well(daemons: Sequence[Daemon], back_at: float) -> bool:
    """Whether every machine has beaten, and every long-poll call stands again, since the server came back."""
    times = [daemon.beaten_at for daemon in daemons]
    times += [call.stands_since for daemon in daemons for call in daemon.calls()]
    return all(at is not None and at >= back_at for at in times)


def check(greenroom: House) -> None:
    """Check that the server shows all machines connected and all agents; else raise `RuntimeError`."""
    with closing(greenroom.session()) as operator:
        after, machines, agents = None, 0, 0
        while page := operator.machines(after, PAGE):
            machines += sum(machine.daemon_connected for machine in page)
            agents += sum(len(machine.agents) for machine in page)
            after = page[-1].id
    if (machines, agents) != (MACHINES, MACHINES * AGENTS):
        raise RuntimeError(f"the server shows {machines} machines and {agents} agents")


def conclude(sent: Sequence[float], times: Return) -> Piece:
    """Rows for the time until all were back, and for the busiest second of each interval."""
    fleet = f"{MACHINES * AGENTS:,} agents on {MACHINES} daemons"
    rows = [
        Row(
            what=f"{fleet}, server killed for {AWAY_S:g} s: until all are well again",
            figure=times.well_at - times.back_at,
            unit="s",
            beside=Beside("one interval", INTERVAL_S),
            goal=Goal("<=", 1, "ratio"),
        )
    ]
    for number in range(INTERVALS):
        rates = rates_of(sent, times.back_at + number * INTERVAL_S)
        rows.append(
            Row(
                what=f"their requests in the {('first', 'second')[number]} interval after that, busiest second",
                figure=max(rates),
                unit="requests/s",
                beside=Beside("mean of the interval", sum(rates) / len(rates)),
                goal=Goal("<=", 3, "ratio"),
                samples=tuple(rates),
            )
        )
    return Piece(
        tuple(rows),
        (
            f"default intervals of {INTERVAL_S:g} s, counted from when the server printed that it listens, "
            f"{times.back_at - times.begun_at:.1f} s after it was started again",
        ),
    )


def rates_of(sent: Sequence[float], begins_at: float) -> list[float]:
    """Requests in each second of one interval."""
    counted = Counter(int(at - begins_at) for at in sent if at >= begins_at)
    return [float(counted[second]) for second in range(int(INTERVAL_S))]
