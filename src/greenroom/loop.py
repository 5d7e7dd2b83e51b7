"""Runs the rounds of periodic loops and tracks their health; tunes Python's garbage collector for long processes.

Metrics, per loop: `greenroom_loop_age_seconds` (`LoopHealth.age_s`) and `greenroom_loop_failures_total`
(`LoopHealth.failures`).
Limit: the age is measured by the monotonic clock, so the time that the machine sleeps does not make a loop late.
"""

import gc
import logging
from collections.abc import Callable

from greenroom.clock import Clock

log = logging.getLogger("greenroom.loop")

GC_THRESHOLDS = (10_000, 10, 100)
"""New objects, young and middle collections after which Python's cycle collector takes the next older generation."""


class LoopHealth:
    """Health of one loop: when it last finished a round, and how many of its rounds raised.

    The loop is late when that is longer ago than twice its `period_s` and longer ago than `late_after_min_s`.
    """

    def __init__(self, name: str, period_s: float, clock: Clock, late_after_min_s: float = 15.0) -> None:
        self.name = name
        self.period_s = period_s
        self.late_after_s = max(2 * period_s, late_after_min_s)
        self.failures = 0
        self._clock = clock
        self._finished_at = clock.monotonic()

    def record_round(self) -> None:
        """Record that a round has just finished."""
        self._finished_at = self._clock.monotonic()

    def age_s(self) -> float:
        """Return the seconds since the last finished round, or since the start."""
        return self._clock.monotonic() - self._finished_at

    def is_late(self) -> bool:
        """Return whether the last finished round is longer ago than `late_after_s`."""
        return self.age_s() > self.late_after_s


def run_round(health: LoopHealth, tick: Callable[[], None]) -> None:
    """Run one round and record that it finished. If it raises, log and count that instead; nothing is raised."""
    try:
        tick()
    except Exception:
        health.failures += 1
        log.exception("loop round failed: %s: retried in the next round", health.name)
    else:
        health.record_round()


def freeze_garbage_collector() -> None:
    """Exclude all present objects from garbage collection, and make full collections rare.

    A full collection of a server's libraries alone would take tens of milliseconds, one of ten thousand waiting claims
    a second, and no heartbeat is answered meanwhile. The few reference cycles that a request leaves behind are found by
    collections of the youngest generation.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
