"""Runs the server's background loops: the sweep, and the feed loop, which counts events.

The sweep runs on the event loop that answers heartbeats. If that loop stalls, heartbeats wait unread, and the sweep
comes late too. A sweep that comes more than a tenth of a lease late extends all leases instead of ending any.

Settings: `sweep_interval_s` (seconds between rounds), `loop_late_after_s` (seconds after which a loop is late).
Metrics: `greenroom_sweeps_total`, `greenroom_sweep_seconds_total`, `greenroom_sweep_last_seconds`,
`greenroom_transitions_total`, and those of `loop`.
Limit: events that come faster than the feed keeps them are not counted.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from greenroom.loop import LoopHealth, run_round
from greenroom.server.counters import Counters
from greenroom.server.wakeups import Broadcast, Flag, wait_any
from greenroom.service import sweeper
from greenroom.service.context import ServiceContext

SWEEP: Final = "sweep"
FEED: Final = "feed"
RECORD: Final = "record"


class BackgroundLoops:
    """The sweep and the feed loop, each with its Pulse.

    A third Pulse, `record`, becomes late when the store does not commit what the sweep found.
    """

    def __init__(self, context: ServiceContext, broadcast: Broadcast, closing: Flag, counters: Counters) -> None:
        limits, clock = context.limits, context.clock
        self.sweep: Final = LoopHealth(SWEEP, limits.sweep_interval_s, clock, limits.loop_late_after_s)
        self.feed: Final = LoopHealth(FEED, limits.sweep_interval_s, clock, limits.loop_late_after_s)
        self.record: Final = LoopHealth(RECORD, limits.sweep_interval_s, clock, limits.loop_late_after_s)
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

    def tick_sweep(self) -> bool:
        """Run one round of the sweep, or a part of it. Returns True when the rest has to follow at once.

        When the server has lost its store, or may have, it writes no more, and this raises, which ends the loop:
        AlreadyRunning if another server is known to have the store, else StoreUnavailable.
        """
        self._context.store.verify_lock()
        if not self._context.sweep.is_recording:
            self.record.record_round()
        clock, counters, was_midway = self._context.clock, self._counters, self._is_midway
        began_at = clock.monotonic()
        self._is_midway = False
        run_round(self.sweep, self._run_sweep)
        took_s = clock.monotonic() - began_at
        counters.sweeps += not was_midway
        counters.sweep_last_s = took_s + (counters.sweep_last_s if was_midway else 0.0)
        counters.sweep_s += took_s
        return self._is_midway

    def tick_feed(self) -> None:
        """Read the feed to its end, as every reader of events does, and count the events by type."""
        run_round(self.feed, self._count_events)

    async def run(self) -> None:
        """Run both loops until the server stops."""
        await asyncio.gather(self._run(self.tick_sweep, on_events=False), self._run(self.tick_feed, on_events=True))

    def _run_sweep(self) -> None:
        self._is_midway = sweeper.tick(self._context)

    async def _run(self, tick: Callable[[], bool | None], on_events: bool) -> None:
        while not self._closing.is_set():
            wakeups = (self._broadcast.next_flag(),) if on_events else ()
            await wait_any(self._closing, *wakeups, timeout_s=self._context.limits.sweep_interval_s)
            while tick() and not self._closing.is_set():
                await wait_any(self._closing, timeout_s=0)  # Heartbeats that came meanwhile are answered first.

    def _count_events(self) -> None:
        feed = self._context.event_buffer
        while self._counted_pos < feed.last_pos:
            events = feed.read_after(self._counted_pos, self._context.limits.stream_page)
            if not events:  # They came faster than the feed keeps them: counting continues after the gap.
                self._counted_pos = feed.last_pos
                break
            self._counters.transitions.update(event.type for event in events)
            self._counted_pos = events[-1].pos
