"""Runs the server's background loops: the sweep, and the feed loop, which counts events.

The sweep runs on the event loop that answers heartbeats. If that loop stalls, heartbeats wait unread, and the sweep
comes late too. A sweep that comes more than a tenth of a lease late extends all leases instead of ending any.

Settings: `sweep_interval_s` (seconds between rounds), `loop_late_after_s` (seconds after which a loop is late).
Metrics: `greenroom_sweeps_total`, `greenroom_sweep_seconds_total`, `greenroom_sweep_last_seconds`,
`greenroom_transitions_total`, and those of `loop`.
Limit: events that come faster than the feed keeps them are not counted.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from greenroom.loop import Loop, LoopHealth
from greenroom.server.counters import Counters
from greenroom.server.wakeups import Broadcast, Flag, wait_any
from greenroom.service import loop_alerts, sweeper
from greenroom.service.context import ServiceContext

log = logging.getLogger("greenroom.server.background")

SWEEP: Final = "sweep"
FEED: Final = "feed"
RECORD: Final = "record"


class BackgroundLoops:
    """The sweep and the feed loop, and the health `record`: late when the store does not commit what the sweep found.

    When the server has lost its store, or may have, it writes no more, and the sweep ends: with AlreadyRunning if
    another server is known to have the store, else with StoreUnavailable.
    """

    def __init__(self, context: ServiceContext, broadcast: Broadcast, closing: Flag, counters: Counters) -> None:
        limits, clock = context.limits, context.clock
        period_s, late_after_s = limits.sweep_interval_s, limits.loop_late_after_s
        self.sweep: Final = Loop(
            SWEEP,
            self.tick_sweep,
            period_s,
            clock,
            log,
            late_after_min_s=late_after_s,
            check=context.store.verify_lock,
        )
        self.feed: Final = Loop(FEED, self.tick_feed, period_s, clock, log, late_after_min_s=late_after_s)
        self.record: Final = LoopHealth(RECORD, period_s, clock, late_after_s)
        self._context = context
        self._broadcast = broadcast
        self._closing = closing
        self._counters = counters
        self._counted_pos = context.event_buffer.last_pos
        self._is_midway = False

    @property
    def loops(self) -> tuple[LoopHealth, ...]:
        return (self.sweep, self.record, self.feed)

    def late_loops(self) -> tuple[str, ...]:
        """Return the names of the loops that have not finished a round for too long."""
        return tuple(health.name for health in self.loops if health.is_late())

    async def run(self) -> None:
        """Run both loops until the server stops. Raises what ended one of them."""
        await asyncio.gather(run_loop(self.sweep, self._wait_for_sweep), run_loop(self.feed, self._wait_for_events))

    def tick_sweep(self) -> float:
        """Run one round of the sweep, or a part of it; the seconds until the next one, 0 if the rest has to follow."""
        if not self._context.sweep.is_recording:
            self.record.record_round()
        was_midway, self._is_midway = self._is_midway, False
        began_at = self._context.clock.monotonic()
        try:
            self._is_midway = sweeper.tick(self._context)
        finally:
            self._count_sweep(self._context.clock.monotonic() - began_at, was_midway)
        return 0.0 if self._is_midway else self.sweep.period_s

    def tick_feed(self) -> float:
        """Read the feed to its end, as every reader of events does, and count the events by type.

        Also update the alerts about late loops.
        """
        try:
            self._count_events()
        finally:
            loop_alerts.watch_loops(self._context, self.late_loops())
        return self.feed.period_s

    def _count_events(self) -> None:
        feed = self._context.event_buffer
        while self._counted_pos < feed.last_pos:
            events = feed.read_after(self._counted_pos, self._context.limits.stream_page)
            if not events:  # They came faster than the feed keeps them: counting continues after the gap.
                self._counted_pos = feed.last_pos
                break
            self._counters.transitions.update(event.type for event in events)
            self._counted_pos = events[-1].pos

    async def _wait_for_sweep(self, seconds: float) -> None:
        await wait_any(self._closing, timeout_s=seconds)  # Also between two parts: heartbeats that came are answered.
        if self._closing.is_set():
            self.sweep.stop()

    async def _wait_for_events(self, seconds: float) -> None:
        await wait_any(self._closing, self._broadcast.next_flag(), timeout_s=seconds)
        if self._closing.is_set():
            self.feed.stop()

    def _count_sweep(self, took_s: float, was_midway: bool) -> None:
        counters = self._counters
        counters.sweeps += not was_midway
        counters.sweep_last_s = took_s + (counters.sweep_last_s if was_midway else 0.0)
        counters.sweep_s += took_s


async def run_loop(loop: Loop, wait: Callable[[float], Awaitable[None]]) -> None:
    """Run a loop on this event loop; the first round comes after its period. `wait` may return before its seconds."""
    await wait(loop.period_s)
    for pause_s in loop.rounds():
        await wait(pause_s)
