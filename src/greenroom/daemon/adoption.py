"""Decides which runs of a killed daemon are adopted, and ends and reports the others."""

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
    """The runs of an earlier daemon that this one adopts, at most one of each role.

    The others are ended, and their ends are reported.
    """
    book.sweep()
    newest: dict[tuple[str, str], Run] = {}
    for run in sorted(book.read_all(), key=lambda run: run.began_at):
        if outbox.holds(id_of("exit", run)):
            # The daemon was killed after it had reported the end and before it removed the record: count the end once.
            book.forget(run)
            continue
        earlier = newest.pop((run.room, run.role), None)
        if earlier is not None:
            # It had ended when the next one started; the report of that may have been lost while the disk was full.
            let_go(earlier, book, outbox, clock, is_over=True)
        if run.wish is None or run.claimed is None:
            let_go(run, book, outbox, clock)
        else:
            newest[run.room, run.role] = run
    for run in newest.values():
        log.info("run adopted: %s, attempt %d: started by an earlier daemon", run.task, run.attempt)
    return list(newest.values())


def let_go(run: Run, book: RunBook, outbox: Outbox, clock: Clock, is_over: bool = False) -> None:
    """Kill what is left of a run that is not adopted, and report its end."""
    was_alive = kill_leftover(run.identity, marks_of(run.task, run.attempt, run.connection_id))
    if was_alive:
        log.warning("leftover processes killed: %s, attempt %d: not adopted", run.task, run.attempt)
    ending = "the run was killed when the daemon started again" if was_alive else "how the run ended was not recorded"
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
        detail=f"The daemon of this machine was killed; {ending}.",
    )
    outbox.put(fact, when_safe=lambda: book.forget(run))
