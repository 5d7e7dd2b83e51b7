"""What an earlier daemon left behind when it was killed: ended, and told as facts. Must not know what runs now."""

import logging
from collections.abc import Callable

from greenroom.client.errand import marks_of
from greenroom.daemon.runs import Run, RunBook
from greenroom.domain.reliability import Reliability
from greenroom.process.group import kill_leftover
from greenroom.wire.requests import Fact

log = logging.getLogger("greenroom.daemon.leftovers")

KILLED = 9


class Leftovers:
    """The runs of an earlier daemon. Each stays written down until the server has been told how it ended."""

    def __init__(self, book: RunBook, limits: Reliability, now: str) -> None:
        self._book = book
        self._limits = limits
        self._now = now
        self._waiting: list[tuple[Run, Fact]] = []

    def end_all(self) -> None:
        """End whatever of those runs still lives. Nobody watches them, and their tasks will be given out again."""
        for run in self._book.read_all():
            was_alive = end_leftover(run)
            if was_alive:
                log.warning(
                    "ended what was left of attempt %d at %s by a daemon that was killed", run.attempt, run.task
                )
            self._waiting.append((run, run.fact or self._fact_of(run, was_alive)))

    def tell(self, post: Callable[[list[Fact]], object]) -> None:
        """Tell the server. What has been told once is not told again."""
        while self._waiting:
            batch = self._waiting[: self._limits.facts_per_post_max]
            post([fact for _, fact in batch])
            for run, _ in batch:
                self._book.forget(run)
            del self._waiting[: len(batch)]

    def _fact_of(self, run: Run, was_alive: bool) -> Fact:
        how = "the run was ended when the daemon started again" if was_alive else "nobody saw how the run ended"
        return Fact(
            id=f"left:{run.task}.{run.attempt}.{run.connection_id}"[:128],
            kind="exited",
            room=run.room,
            role=run.role,
            connection_id=run.connection_id,
            task=run.task,
            attempt=run.attempt,
            signal=KILLED if was_alive else None,
            intended=False,
            at=self._now,
            detail=f"The daemon of this machine was killed; {how}.",
        )


def end_leftover(run: Run) -> bool:
    """End the whole group of a run, and whoever left it; True when anything of it still ran.

    Also that of a daemon that was killed between starting a command and writing down its number: it is found out by
    the environment that it gave to the command.
    """
    return kill_leftover(run.identity, marks_of(run.task, run.attempt, run.connection_id))
