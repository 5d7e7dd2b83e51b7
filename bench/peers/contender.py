"""What every system that is compared can be asked. Must not know which there are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

IN_FLIGHT: Final = 32
"""Submissions under way at any time while tasks per second are counted."""
RATE_S: Final = 2.0
DISPATCH_S: Final = 2.0
PAUSE_S: Final = 0.02
"""Between two tasks whose latency is taken: the worker of the last one waits again."""


class Dispatch(NamedTuple):
    """One task by itself, in seconds from submitting it."""

    begun_s: float
    done_s: float


@dataclass(frozen=True)
class Contender:
    """A system that runs, under the name that the table has for it."""

    name: str
    rate: Callable[[], float]
    """Tasks per second, for some seconds."""
    dispatches: Callable[[], list[Dispatch]] | None = None
    """One task at a time, for some seconds; None where the rate alone is of interest."""
