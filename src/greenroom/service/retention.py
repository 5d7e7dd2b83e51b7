"""Forgetting what need not be kept any longer, a few rows at a time. Must not know how anything is remembered.

The sweep keeps it going. A round goes through everything that grows; a killed server's next one goes on where the store
says that something is left. Whoever else writes never waits for more than one small batch.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from greenroom.clock import instant_of, seconds_of
from greenroom.domain.errors import GreenroomError
from greenroom.domain.event import Event
from greenroom.domain.retention import BATCHES_PER_SWEEP, ROWS_AT_FIRST, next_rows
from greenroom.service.world import World
from greenroom.store import retention
from greenroom.store.transaction import Reader, Transaction

logger = logging.getLogger("greenroom.retention")

Step = Callable[[World, Transaction, int], int]
"""Forgets about so many rows at most, and tells how many it went through; 0 when nothing is left."""


def notice(world: World, events: Sequence[Event]) -> None:
    """Note which streams have become longer than they may be."""
    kept_max = world.limits.events_kept_max
    for event in events:
        if event.seq > kept_max:
            world.retention.long_streams.add(event.stream)


def remember(world: World, reader: Reader) -> None:
    """Note likewise after a restart."""
    world.retention.long_streams.update(retention.long_streams(reader, world.limits.events_kept_max))


def forget_on(world: World) -> None:
    """Go on with a round, or begin one when its time has come."""
    state, now = world.retention, world.clock.monotonic()
    if state.is_forgetting:
        return
    if not state.steps:
        if now < state.begins_at:
            return
        state.begins_at = now + world.limits.retention_interval_s
        state.steps.extend(STEPS)
        state.after_sitting = retention.NO_SITTING
    submit(world, BATCHES_PER_SWEEP)


def submit(world: World, batches: int) -> None:
    """Have the next batch forgotten, and up to `batches` in all. In between whatever else waits is written."""
    world.retention.is_forgetting = True
    try:
        forgetting = world.store.write(partial(forget_some, world))
    except BaseException:
        world.retention.is_forgetting = False
        raise
    forgetting.add_done_callback(partial(go_on, world, batches - 1))


def go_on(world: World, batches: int, forgetting: "Future[None]") -> None:
    """After a batch: the next, if it may be. A step that fails is left out until the next round."""
    state = world.retention
    state.is_forgetting = False
    error = None if forgetting.cancelled() else forgetting.exception()
    if isinstance(error, GreenroomError):
        # The whole round can wait for the next one: an outage may last, and is told by those who have it.
        logger.warning("what is old is forgotten later: %s", error)
        state.steps.clear()
    elif error is not None:
        logger.error("what is old was not forgotten", exc_info=error)
        if state.steps:
            state.steps.popleft()
    elif batches > 0 and state.steps and world.store.writer.queued < world.limits.writer_batch_max:
        try:
            submit(world, batches)
        except GreenroomError as refused:
            logger.warning("what is old is forgotten later: %s", refused)


def forget_some(world: World, tx: Transaction) -> None:
    """Forget one batch, step after step until it is full."""
    state = world.retention
    rows = left = state.rows or min(ROWS_AT_FIRST, world.limits.retention_rows_max)
    while left > 0 and state.steps:
        done = STEPS[state.steps[0]](world, tx, left)
        if done == 0:
            state.steps.popleft()
        left -= done
        state.forgotten += done
    state.rows = next_rows(rows, world.clock.monotonic() - tx.now.monotonic, world.limits.retention_rows_max)


def forget_deleted(world: World, tx: Transaction, limit: int) -> int:
    """Forget what a deleted room or machine had. Not at once, so that who follows can read its last events."""
    stream = retention.next_deletion(tx, ago(tx, world.limits.retention_interval_s))
    if stream is None:
        return 0
    kind, _, subject = stream.partition(":")
    if kind == "room":
        for forget in (retention.forget_tasks, retention.forget_messages, retention.forget_sittings_of):
            if done := forget(tx, subject, limit):
                return done
    if done := retention.forget_of_stream(tx, stream, 0, limit):
        return done
    retention.forget_stream(tx, stream)
    return 1


def forget_events(world: World, tx: Transaction, limit: int) -> int:
    """Forget what happened too long ago."""
    return retention.forget_events(tx, ago(tx, world.limits.events_kept_s), limit)


def forget_of_long_streams(world: World, tx: Transaction, limit: int) -> int:
    """Forget the oldest events of streams that have more than they may have."""
    state = world.retention
    for stream in [*state.long_streams][:1]:
        done = retention.forget_of_stream(tx, stream, world.limits.events_kept_max, limit)
        if done < limit:
            state.long_streams.discard(stream)
        return max(done, 1)
    return 0


def forget_sittings(world: World, tx: Transaction, limit: int) -> int:
    """Forget sittings that ended too long ago."""
    state = world.retention
    before = ago(tx, world.limits.sittings_kept_s)
    done, state.after_sitting = retention.forget_sittings(tx, before, state.after_sitting, limit)
    return done


def forget_facts(world: World, tx: Transaction, limit: int) -> int:
    """Forget which facts were taken too long ago."""
    return retention.forget_facts(tx, ago(tx, world.limits.facts_kept_s), limit)


def forget_incarnations(world: World, tx: Transaction, limit: int) -> int:
    """Forget which daemons ran too long ago."""
    return retention.forget_incarnations(tx, ago(tx, world.limits.incarnations_kept_s), limit)


def forget_answers(world: World, tx: Transaction, limit: int) -> int:
    """Forget what was answered too long ago under an idempotency key."""
    return retention.forget_answers(tx, ago(tx, world.limits.idempotency_kept_s), limit)


def ago(tx: Transaction, seconds: float) -> str:
    """The instant that was `seconds` ago."""
    return instant_of(seconds_of(tx.now.instant) - seconds)


STEPS: dict[str, Step] = {
    "answers": forget_answers,
    "events": forget_events,
    "long streams": forget_of_long_streams,
    "sittings": forget_sittings,
    "facts": forget_facts,
    "incarnations": forget_incarnations,
    "deleted": forget_deleted,
}
