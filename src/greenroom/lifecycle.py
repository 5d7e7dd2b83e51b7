"""One way to start, tick and stop everything long-lived. Knows loops and their health; must not know what they do."""

import gc
import logging
from collections.abc import Callable

from greenroom.clock import Clock

log = logging.getLogger("greenroom.lifecycle")

COLLECT_AFTER = (10_000, 10, 100)
"""New objects, young rounds and middle rounds after which Python's cycle collector looks at the next older ones."""


class Pulse:
    """The healer's own heartbeat: when a loop last finished a round, and how many rounds raised."""

    def __init__(self, name: str, period_s: float, clock: Clock, late_floor_s: float = 15.0) -> None:
        self.name = name
        self.period_s = period_s
        self.late_after_s = max(2 * period_s, late_floor_s)
        self.failures = 0
        self._clock = clock
        self._beaten_at = clock.monotonic()

    def beat(self) -> None:
        """Say that a round was finished just now."""
        self._beaten_at = self._clock.monotonic()

    def age_s(self) -> float:
        """Seconds since the last finished round."""
        return self._clock.monotonic() - self._beaten_at

    def is_late(self) -> bool:
        """Tell whether the loop is late by more than the greater of two periods and 15 s."""
        return self.age_s() > self.late_after_s


def tick_guarded(pulse: Pulse, tick: Callable[[], None]) -> None:
    """Run one round: beat when it ends well, log and count when it raises."""
    try:
        tick()
    except Exception:
        pulse.failures += 1
        log.exception("a round of %s failed; it is tried again at the next one", pulse.name)
    else:
        pulse.beat()


def settle_memory() -> None:
    """Take all that a process made until now for permanent, and have the rest looked through seldom.

    Python's cycle collector then leaves it out of its full rounds. Of a server's libraries alone such a round would
    take tens of milliseconds, in which nobody's beat is answered; of ten thousand claims that stand at it, a second.
    What few cycles a request leaves behind are found young, by the rounds that look at nothing else.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
