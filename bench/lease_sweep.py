"""Measures memory and sweep of very many leases in one process, while beats continue.

`python -m bench.lease_sweep COUNT` runs it.
It is a process of its own, because memory that was used once cannot be measured again. It prints its result as JSON.
The one percent that falls silent has joined in the store as well, so that each expiry is recorded and not only found.
"""

import asyncio
import gc
import sys
import time
from collections.abc import Callable
from typing import Final

import msgspec
import psutil
import uvloop

from bench.writes import open_context
from greenroom.domain.limits import DEFAULT_LIMITS
from greenroom.domain.principal import OPERATOR_PRINCIPAL
from greenroom.loop import freeze_garbage_collector
from greenroom.server.background import BackgroundLoops
from greenroom.server.counters import Counters
from greenroom.server.wakeups import Broadcast, Flag
from greenroom.service import participants, rooms
from greenroom.service.context import ServiceContext
from greenroom.service.state.lease_table import LeaseTable, role_key
from greenroom.store.transaction import Transaction
from greenroom.wire.requests import CreateRoom, Join

ROLES_PER_ROOM: Final = 10
ROLES_PER_FULL_ROOM: Final = 50
ONE_SILENT_IN: Final = 100
"""One agent in this many falls silent."""
PHASE_S: Final = 4.0
BEATING_AGENTS: Final = 1000
GIVE_UP_S: Final = 90.0
SOON_S: Final = 0.5
TTL_S: Final = DEFAULT_LIMITS.heartbeat_ttl_s
INTERVAL_S: Final = DEFAULT_LIMITS.heartbeat_interval_s


class SweepFigures(msgspec.Struct, frozen=True):
    """For one period: how long the sweep worked in a round and in a part, and the longest wait of a beat.

    A round is done in parts, between which beats are answered. Both are CPU time, which other processes on the machine
    cannot lengthen; the wait of a beat is wall-clock time, with everything that made it longer.
    """

    round_ms: float
    part_ms: float
    wait_ms: float
    seconds: float


class LeaseFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What this many leases cost: in memory, and in each of the four conditions of the sweep."""

    count: int
    bytes_per_lease: float
    without_sweep: SweepFigures
    """No sweep runs: how long a beat waits on this machine anyway."""
    healthy: SweepFigures
    """Every agent beats in time."""
    silent: SweepFigures
    """One percent of the leases runs out at the same moment; until the last expiry is recorded."""
    restarted: SweepFigures
    """All leases were granted in the same second, as when a server starts, and are examined in one round."""


def main() -> None:
    """Fill the lease table, measure its memory, and sweep it."""
    count = int(sys.argv[1])
    with open_context() as context:
        gc.collect()
        before = psutil.Process().memory_info().rss
        grant_leases(context.leases, count, context.clock.monotonic())
        crowd = measure_phases(context, count, (psutil.Process().memory_info().rss - before) / count)
    sys.stdout.write(msgspec.json.encode(crowd).decode())


def measure_phases(context: ServiceContext, count: int, bytes_per_lease: float) -> LeaseFigures:
    """Sweep the table in each of its conditions."""
    table = context.leases
    freeze_garbage_collector()  # as the server does after its start
    spread_beats(table, context.clock.monotonic())
    still = uvloop.run(run_sweep(context, lambda passed_s: passed_s >= PHASE_S, is_swept=False))
    healthy = uvloop.run(run_sweep(context, lambda passed_s: passed_s >= PHASE_S))
    expected = join_silent_agents(context, count // ONE_SILENT_IN)
    silent = uvloop.run(run_sweep(context, lambda passed_s: context.sweep_counters.expired >= expected))
    grant_at_once(table, context.clock.monotonic())
    restarted = uvloop.run(run_sweep(context, lambda passed_s: passed_s >= PHASE_S))
    counters = context.sweep_counters
    if context.sweep.extensions or counters.expired != expected:
        raise RuntimeError(f"wrong result of the sweep: {context.sweep}, {counters}; {expected} agents were silent")
    return LeaseFigures(
        count=count,
        bytes_per_lease=bytes_per_lease,
        without_sweep=still,
        healthy=healthy,
        silent=silent,
        restarted=restarted,
    )


def grant_leases(table: LeaseTable, count: int, now: float) -> None:
    """Grant `count` leases as if each agent had joined at its own time. Names are unique and as long as real ones."""
    for number in range(count):
        key = role_key(f"room_{number // ROLES_PER_ROOM:016}", f"role{number % ROLES_PER_ROOM:03}")
        filed_s = TTL_S - (TTL_S - INTERVAL_S) * number / count
        table.grant(key, f"conn_{number:016}", TTL_S, None, now - filed_s)


def spread_beats(table: LeaseTable, now: float) -> None:
    """Let every agent have beaten within the last interval."""
    count = len(table.participants)
    for number, (key, seat) in enumerate(list(table.participants.items())):  # The writer may remove leases meanwhile.
        table.renew(key, seat.connection, now - INTERVAL_S * number / count)


def join_silent_agents(context: ServiceContext, count: int) -> int:
    """Join `count` more agents in the store, whose leases run out in 0.5 s; their number."""
    size = ROLES_PER_FULL_ROOM
    joined = [key for first in range(0, count, size) for key in join_room(context, first, min(size, count - first))]
    now = context.clock.monotonic()
    for key in joined:
        context.leases.grant(key, context.leases.participants[key].connection, TTL_S, None, now - TTL_S + SOON_S)
    return len(joined)


def join_room(context: ServiceContext, first: int, count: int) -> list[str]:
    """Create a room with a present participant in each role; the keys of their leases."""
    roles = [f"role{number}" for number in range(count)]

    def join_all(tx: Transaction) -> str:
        room = rooms.create(context, tx, OPERATOR_PRINCIPAL, CreateRoom(name=f"silent{first}", roles=roles))
        for role in roles:
            participants.join(
                context, tx, OPERATOR_PRINCIPAL, room.id, role, Join(connection_id=f"conn_{first}_{role}")
            )
        return room.id

    room = context.store.run(join_all)
    return [role_key(room, role) for role in roles]


def grant_at_once(table: LeaseTable, now: float) -> None:
    """Grant every lease again for the same moment, as a starting server does, and let every agent have beaten since."""
    for key, seat in list(table.participants.items()):
        table.grant(key, seat.connection, TTL_S, None, now - TTL_S + SOON_S)
    spread_beats(table, time.monotonic())
    freeze_garbage_collector()


class TimedLoops(BackgroundLoops):
    """The server's own sweep loop, with the CPU time of each part of a round."""

    rounds = 0
    sum_s = longest_s = 0.0

    def tick_sweep(self) -> float:
        began_at = time.thread_time()
        wait_s = super().tick_sweep()
        took_s = time.thread_time() - began_at
        self.sum_s, self.longest_s = self.sum_s + took_s, max(self.longest_s, took_s)
        self.rounds += wait_s > 0
        return wait_s


async def run_sweep(context: ServiceContext, is_over: Callable[[float], bool], is_swept: bool = True) -> SweepFigures:
    """Send beats without pause on the loop that sweeps, and measure how long a beat has to wait."""
    closing = Flag()
    healing = TimedLoops(context, Broadcast(asyncio.get_running_loop()), closing, Counters())
    context.sweep.next_round_at = context.clock.monotonic() + context.limits.sweep_interval_s
    running = asyncio.create_task(healing.run()) if is_swept else None
    seats = [
        (key, context.leases.participants[key].connection) for key in list(context.leases.participants)[:BEATING_AGENTS]
    ]
    began_at = last = time.perf_counter()
    wait_s, number = 0.0, 0
    while not is_over(last - began_at):
        key, connection = seats[number % BEATING_AGENTS]
        context.leases.renew(key, connection, context.clock.monotonic())
        number += 1
        now = time.perf_counter()
        wait_s, last = max(wait_s, now - last), now
        if last - began_at > GIVE_UP_S:
            raise RuntimeError(f"not finished after {GIVE_UP_S:g} s: {context.sweep}")
        await asyncio.sleep(0)
    closing.set()
    if running is not None:
        await running
    round_ms = 1e3 * healing.sum_s / max(1, healing.rounds)
    return SweepFigures(round_ms, 1e3 * healing.longest_s, 1e3 * wait_s, last - began_at)


if __name__ == "__main__":
    main()
