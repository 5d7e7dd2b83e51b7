"""The state of retention between its batches, in memory only. After a restart all of it is found again in the store."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from greenroom.service.state.thread_rules import LoopOnly, WriterOnly

ParticipantPosition = tuple[str, str, str, int]
"""Of the participant at which a step continues; None at the beginning."""


@dataclass
class BatchProgress(WriterOnly):
    """How far one batch has come; it counts only once the batch is committed.

    `rows` is the size of the batch (0 for the first), then that of the next one. `steps` are those that are not
    finished, the current one first. `trimmed` are the streams that the batch trimmed to the limit.
    """

    rows: int
    steps: deque[str]
    after_participant: ParticipantPosition | None
    trimmed: set[str] = field(default_factory=set)


@dataclass
class RetentionState(LoopOnly):
    """Where the next batch begins: what the committed batches of this round have left. Fields as in BatchProgress."""

    next_round_at: float = 0.0
    is_running: bool = False
    rows: int = 0
    steps: deque[str] = field(default_factory=deque)
    after_participant: ParticipantPosition | None = None

    def begin_batch(self) -> BatchProgress:
        """The progress of the next batch."""
        return BatchProgress(self.rows, self.steps.copy(), self.after_participant)

    def adopt(self, progress: BatchProgress) -> None:
        """Continue after a batch that was committed."""
        self.rows, self.steps, self.after_participant = progress.rows, progress.steps, progress.after_participant

    def skip_failed_step(self, progress: BatchProgress) -> None:
        """Skip the step in which a batch failed. What its other steps did was undone with it, and is done again."""
        if progress.steps:
            self.steps.remove(progress.steps[0])


class LongStreams(WriterOnly):
    """The streams that have more events than are kept."""

    def __init__(self) -> None:
        self._streams: dict[str, None] = {}

    def add(self, streams: Iterable[str]) -> None:
        """Add streams."""
        self._streams.update(dict.fromkeys(streams))

    def discard(self, stream: str) -> None:
        """Remove a stream that was trimmed to the limit."""
        self._streams.pop(stream, None)

    def list_all(self) -> list[str]:
        """The streams, in the order in which they became long."""
        return [*self._streams]
