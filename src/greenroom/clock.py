"""The one place that reads time. Knows the machine's clocks; must not know what their readings are used for."""

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, Protocol


class Now(NamedTuple):
    """One reading, taken once and passed on: what is shown (`instant`) and what is judged by (`monotonic`)."""

    instant: str
    monotonic: float


class Clock(Protocol):
    """The port of time: three readings, in seconds."""

    def wall(self) -> float:
        """Seconds since the epoch. Only ever shown, never compared with another machine's."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards and stand still while the machine sleeps."""
        ...

    def boottime(self) -> float:
        """Seconds that never run backwards and count the machine's sleep too."""
        ...


def instant_of(wall_s: float) -> str:
    """Spell seconds since the epoch as ISO 8601 in UTC with milliseconds: `2026-11-20T23:46:34.120Z`."""
    second, thousandths = divmod(round(wall_s * 1000), 1000)
    return f"{spell_second(second)}.{thousandths:03d}Z"


@lru_cache(maxsize=8)
def spell_second(second: int) -> str:
    """An instant without its thousandths; of one second many are spelled."""
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


def seconds_of(instant: str) -> float:
    """Read an instant back as seconds since the epoch. Raises ValueError for anything else."""
    return datetime.fromisoformat(instant).timestamp()


def now(clock: Clock) -> Now:
    """Take one reading."""
    return Now(instant_of(clock.wall()), clock.monotonic())


class SystemClock:
    """This machine's clocks. Where the kernel has no CLOCK_BOOTTIME, sleep cannot be told from the passing of time."""

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
    """A clock that moves only when told to, for tests and simulation."""

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

    def move(self, seconds: float) -> None:
        """Let `seconds` pass."""
        assert seconds >= 0
        self._wall += seconds
        self._monotonic += seconds

    def sleep(self, seconds: float) -> None:
        """Let the machine sleep: the wall goes on, the monotonic clock stands still."""
        assert seconds >= 0
        self._wall += seconds
        self._slept += seconds

    def leap(self, seconds: float) -> None:
        """Let somebody set the wall clock, forwards or backwards. No time passes."""
        self._wall += seconds
