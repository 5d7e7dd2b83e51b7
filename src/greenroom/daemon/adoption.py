"""What an earlier daemon left when it was killed: which of its runs are carried on. Must not know how that is done."""

import logging

from greenroom.client.briefing import marks_of
from greenroom.clock import Clock, instant_of
from greenroom.daemon.chronicle import id_of
from greenroom.daemon.outbox import Outbox
from greenroom.daemon.runs import Run, RunBook
from greenroom.process.members import kill_leftover
from greenroom.wire.requests import Fact

log = logging.getLogger("greenroom.daemon.adoption")

KILLED = 9


def take_over(book: RunBook, outbox: Outbox, clock: Clock) -> list[Run]:
    """The runs that an earlier daemon left and this one carries on, at most one of each role.

    What cannot be carried on is ended, and told as it is.
    """
    book.sweep()
    newest: dict[tuple[str, str], Run] = {}
    for run in sorted(book.read_all(), key=lambda run: run.began_at):
        if outbox.holds(id_of("exit", run)):
            # The daemon was killed between writing down how it ended and forgetting it: that end counts once.
            book.forget(run)
            continue
        earlier = newest.pop((run.room, run.role), None)
        if earlier is not None:
            # It was over when the next one began; that word of it may have been lost while the disk was full.
            let_go(earlier, book, outbox, clock, is_over=True)
        if run.wish is None or run.claimed is None:
            let_go(run, book, outbox, clock)
        else:
            newest[run.room, run.role] = run
    for run in newest.values():
        log.info("attempt %d at %s, begun by an earlier daemon, is carried on", run.attempt, run.task)
    return list(newest.values())


def let_go(run: Run, book: RunBook, outbox: Outbox, clock: Clock, is_over: bool = False) -> None:
    """End what is left of a run that is not carried on, and tell of it."""
    was_alive = kill_leftover(run.identity, marks_of(run.task, run.attempt, run.connection_id))
    if was_alive:
        log.warning("ended what was left of attempt %d at %s by a daemon that was killed", run.attempt, run.task)
    how = "the run was ended when the daemon started again" if was_alive else "nobody wrote down how the run ended"
    fact = Fact(
        id=id_of("exit", run),
        kind="exited",
        room=run.room,
        role=run.role,
        connection_id=run.connection_id,
        task=run.task,
        attempt=run.attempt,
        signal=KILLED if was_alive else None,
        intended=is_over,
        trial=run.trial,
        generation=run.wish.generation if run.wish is not None else None,
        at=instant_of(clock.wall()),
        detail=f"The daemon of this machine was killed; {how}.",
    )
    outbox.put(fact, when_safe=lambda: book.forget(run))
