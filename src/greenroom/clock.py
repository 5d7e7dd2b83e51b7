"""Reads the clocks. Every reading of time in Greenroom goes through a `Clock`, so that tests can move it."""

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, Protocol


class Now(NamedTuple):
    """One reading, taken once and passed on: `instant` (ISO 8601) to display, `monotonic` (seconds) to decide by."""

    instant: str
    monotonic: float


class Clock(Protocol):
    """Interface of a clock: three readings, in seconds."""

    def wall(self) -> float:
        """Seconds since the epoch. Only displayed, never compared with another machine's."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards. The time that the machine sleeps is not counted."""
        ...

    def boottime(self) -> float:
        """Seconds that never run backwards. The time that the machine sleeps is counted."""
        ...


def format_instant(wall_s: float) -> str:
    """Format seconds since the epoch as ISO 8601 in UTC with milliseconds: `2026-11-20T23:46:34.120Z`."""
    second, thousandths = divmod(round(wall_s * 1000), 1000)
    return f"{format_second(second)}.{thousandths:03d}Z"


@lru_cache(maxsize=8)
def format_second(second: int) -> str:
    """Format a whole second. Cached, because many instants fall into the same second."""
    # `strftime` does not write the year 7 as 0007 everywhere, and instants are compared as texts.
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()


def parse_instant(instant: str) -> float:
    """Parse an instant into seconds since the epoch. Raises ValueError for any other text."""
    return datetime.fromisoformat(instant).timestamp()


def now(clock: Clock) -> Now:
    """Read the wall clock and the monotonic clock."""
    return Now(format_instant(clock.wall()), clock.monotonic())


class SystemClock:
    """This machine's clocks. Without CLOCK_BOOTTIME in the kernel, `boottime` does not count the machine's sleep."""

    def wall(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    if hasattr(time, "CLOCK_BOOTTIME"):

        def boottime(self) -> float:
            return time.clock_gettime(time.CLOCK_BOOTTIME)

    else:

        def boottime(self) -> float:
            return time.monotonic()
