"""The interface of a system in the comparison: its rate and its dispatch latency."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

IN_FLIGHT: Final = 32
"""Submissions in flight at any time while tasks per second are counted."""
RATE_S: Final = 2.0
DISPATCH_S: Final = 2.0
PAUSE_S: Final = 0.02
"""Pause between two tasks whose latency is measured, so that the worker of the last one waits again."""


class Dispatch(NamedTuple):
    """Latency of one task by itself, in seconds from submitting it."""

    begun_s: float
    done_s: float


@dataclass(frozen=True)
class ComparedSystem:
    """A running system, under its name in the table."""

    name: str
    measure_rate: Callable[[], float]
    """Measures tasks per second, over some seconds."""
    measure_dispatches: Callable[[], list[Dispatch]] | None = None
    """Measures one task at a time, over some seconds; None where only the rate is measured."""
