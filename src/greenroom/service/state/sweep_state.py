"""The state of the sweep between its rounds, and its counters since the start of the server. In memory only."""

from dataclasses import dataclass

from greenroom.service.state.thread_rules import LoopOnly, WriterOnly


@dataclass
class SweepState(LoopOnly):
    """When the next round is due, and when queued tasks are promoted next, in monotonic seconds.

    `is_recording`: the transaction of the last round is under way. `extensions` counts the rounds that extended all
    leases.
    """

    next_round_at: float
    next_promotion_at: float
    is_recording: bool = False
    extensions: int = 0


@dataclass
class SweepCounters(WriterOnly):
    """What the sweep has recorded: changes that are committed."""

    expired: int = 0
    disconnected: int = 0
    released: int = 0

    def count_expired(self) -> None:
        """Count a participant whose lease the sweep ended."""
        self.expired += 1

    def count_disconnected(self) -> None:
        """Count a machine that the sweep marked disconnected."""
        self.disconnected += 1

    def count_released(self) -> None:
        """Count a task that the sweep released."""
        self.released += 1
