"""Keeps the systems of a comparison, their readings, and why some are absent."""

import traceback
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from bench.peers.contender import Contender, Dispatch
from bench.peers.place import Missing
from bench.sample import median, percentile


@dataclass(frozen=True)
class Readings:
    """The readings of one system in all rounds."""

    rates: list[float] = field(default_factory=list)
    dispatches: list[Dispatch] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return median(self.rates)

    def begun_ms(self, percent: float) -> float:
        return 1e3 * percentile([dispatch.begun_s for dispatch in self.dispatches], percent)

    def done_ms(self, percent: float) -> float:
        return 1e3 * percentile([dispatch.done_s for dispatch in self.dispatches], percent)


class Field:
    """The systems that take part, in the order of the table, and why the absent ones do not."""

    def __init__(self, stack: ExitStack) -> None:
        self.contenders: list[Contender] = []
        self.absent: dict[str, str] = {}
        self._stack = stack

    def seat(self, starting: AbstractContextManager[list[Contender]]) -> None:
        """Start a system that must start; errors are raised."""
        self.contenders += self._stack.enter_context(starting)

    def invite(self, name: str, starting: AbstractContextManager[list[Contender]]) -> None:
        """Start another system. If it does not start it is listed as absent, and the benchmark goes on."""
        try:
            self.seat(starting)
        except Exception as error:
            self.excuse(name, error)

    def excuse(self, name: str, error: Exception) -> None:
        """Remove a system from the comparison and record the reason."""
        if not isinstance(error, Missing):
            traceback.print_exc()
        self.contenders = [contender for contender in self.contenders if contender.name != name]
        self.absent[name] = reason_of(error)


def reason_of(error: Exception) -> str:
    """Why a system is absent, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
