"""Keeps the systems of a comparison, their readings, and why some are absent."""

import traceback
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from bench.peers.installation import NotInstalled
from bench.peers.system import ComparedSystem, Dispatch
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


class ComparedSystems:
    """The systems that take part, in the order of the table, and why the absent ones do not."""

    def __init__(self, stack: ExitStack) -> None:
        self.systems: list[ComparedSystem] = []
        self.absent: dict[str, str] = {}
        self._stack = stack

    def start(self, starting: AbstractContextManager[list[ComparedSystem]]) -> None:
        """Start a system that must start; errors are raised."""
        self.systems += self._stack.enter_context(starting)

    def start_optional(self, name: str, starting: AbstractContextManager[list[ComparedSystem]]) -> None:
        """Start another system. If it does not start it is listed as absent, and the benchmark goes on."""
        try:
            self.start(starting)
        except Exception as error:
            self.mark_absent(name, error)

    def mark_absent(self, name: str, error: Exception) -> None:
        """Remove a system from the comparison and record the reason."""
        if not isinstance(error, NotInstalled):
            traceback.print_exc()
        self.systems = [contender for contender in self.systems if contender.name != name]
        self.absent[name] = format_reason(error)


def format_reason(error: Exception) -> str:
    """Why a system is absent, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
