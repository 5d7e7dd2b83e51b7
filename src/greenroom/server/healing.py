"""The loops that keep the house well, and their own heartbeat. Knows when they run; must not know what they decide.

The sweep runs on the loop that answers the beats: a loop that stood still has beats lying unread, and so has a sweep
that comes late, by which it knows not to judge.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from greenroom.lifecycle import Pulse, tick_guarded
from greenroom.server.bell import Bell
from greenroom.server.notice import Notice, wait_any
from greenroom.server.tally import Tally
from greenroom.service import sweeping
from greenroom.service.world import World

SWEEP: Final = "sweep"
FEED: Final = "feed"
RECORD: Final = "record"


class Healing:
    """Sweep and feed with their pulses; `record` beats while the store takes down what the sweep found."""

    def __init__(self, world: World, bell: Bell, closing: Notice, tally: Tally) -> None:
        limits, clock = world.limits, world.clock
        self.sweep: Final = Pulse(SWEEP, limits.sweep_interval_s, clock, limits.healer_late_s)
        self.feed: Final = Pulse(FEED, limits.sweep_interval_s, clock, limits.healer_late_s)
        self.record: Final = Pulse(RECORD, limits.sweep_interval_s, clock, limits.healer_late_s)
        self._world = world
        self._bell = bell
        self._closing = closing
        self._tally = tally
        self._counted_pos = world.feed.last_pos
        self._is_midway = False

    @property
    def pulses(self) -> tuple[Pulse, ...]:
        return (self.sweep, self.record, self.feed)

    def late(self) -> tuple[str, ...]:
        """The names of the loops that have not finished a round for too long."""
        return tuple(pulse.name for pulse in self.pulses if pulse.is_late())

    def tick_sweep(self) -> bool:
        """Run one round of the sweep, or a part of it; True when the rest is to follow at once.

        A server that has lost its store, or may have, writes no more, and this loop ends: AlreadyRunning if another one
        is known to have it, else StoreUnavailable.
        """
        self._world.store.keep_lock()
        if not self._world.healer.is_recording:
            self.record.beat()
        clock, tally, was_midway = self._world.clock, self._tally, self._is_midway
        began_at = clock.monotonic()
        self._is_midway = False
        tick_guarded(self.sweep, self._sweep)
        took_s = clock.monotonic() - began_at
        tally.sweeps += not was_midway
        tally.sweep_last_s = took_s + (tally.sweep_last_s if was_midway else 0.0)
        tally.sweep_s += took_s
        return self._is_midway

    def tick_feed(self) -> None:
        """Read the feed to its end, as every follower does, and count what it brought."""
        tick_guarded(self.feed, self._count)

    async def run(self) -> None:
        """Run both until the server stops."""
        await asyncio.gather(self._run(self.tick_sweep, listens=False), self._run(self.tick_feed, listens=True))

    def _sweep(self) -> None:
        self._is_midway = sweeping.tick(self._world)

    async def _run(self, tick: Callable[[], bool | None], listens: bool) -> None:
        while not self._closing.is_set():
            rings = (self._bell.next(),) if listens else ()
            await wait_any(self._closing, *rings, timeout_s=self._world.limits.sweep_interval_s)
            while tick() and not self._closing.is_set():
                await wait_any(self._closing, timeout_s=0)  # Beats that came in the meantime are answered first.

    def _count(self) -> None:
        feed = self._world.feed
        while self._counted_pos < feed.last_pos:
            events = feed.after(self._counted_pos, self._world.limits.stream_page)
            if not events:  # They came faster than the feed keeps them: the count goes on behind the gap.
                self._counted_pos = feed.last_pos
                break
            self._tally.transitions.update(event.type for event in events)
            self._counted_pos = events[-1].pos
