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
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


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


class MovedClock:
    """A clock that moves only by its methods, for tests and simulation."""

    def __init__(self, wall: float = 1_760_000_000.0, monotonic: float = 1_000.0) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._slept = 0.0

    def wall(self) -> float:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    def boottime(self) -> float:
        return self._monotonic + self._slept

    def advance(self, seconds: float) -> None:
        """Advance all three readings by `seconds`."""
        assert seconds >= 0
        self._wall += seconds
        self._monotonic += seconds

    def sleep(self, seconds: float) -> None:
        """Simulate that the machine sleeps: `wall` and `boottime` advance, `monotonic` does not."""
        assert seconds >= 0
        self._wall += seconds
        self._slept += seconds

    def step_wall(self, seconds: float) -> None:
        """Simulate that the wall clock is set, forwards or backwards. No time passes."""
        self._wall += seconds
