"""Retention: deletes what need not be kept any longer, in small batches, so that other writes wait for one batch only.

The sweep drives it. A round runs every step of STEPS until that has nothing left to delete. Progress is found in the
store, so a restarted server continues.

Options: `retention_interval_s`, `retention_rows_max`, `events_kept_s`, `events_kept_max`, `sittings_kept_s`,
`facts_kept_s`, `incarnations_kept_s`, `idempotency_kept_s`.
Limits: a batch begins with few rows and grows as long as it stays fast; under a full writer queue a round pauses until
the next sweep; a step that fails is skipped until the next round.
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
"""Deletes at most about as many rows as given, and returns how many it went through; 0 when nothing is left."""


def notice(world: World, events: Sequence[Event]) -> None:
    """Record which streams now have more than `events_kept_max` events."""
    kept_max = world.limits.events_kept_max
    for event in events:
        if event.seq > kept_max:
            world.retention.long_streams.add(event.stream)


def remember(world: World, reader: Reader) -> None:
    """Find the streams with more than `events_kept_max` events after a restart."""
    world.retention.long_streams.update(retention.long_streams(reader, world.limits.events_kept_max))


def forget_on(world: World) -> None:
    """Continue a round, or begin one when it is due."""
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
    """Queue the next batch, and up to `batches` in all, one after the other; other writes run in between."""
    world.retention.is_forgetting = True
    try:
        batch = world.store.write(partial(forget_some, world))
    except BaseException:
        world.retention.is_forgetting = False
        raise
    batch.add_done_callback(partial(go_on, world, batches - 1))


def go_on(world: World, batches: int, batch: "Future[None]") -> None:
    """After a batch, queue the next one if the writer's queue is short. A step that failed is skipped in this round."""
    state = world.retention
    state.is_forgetting = False
    error = None if batch.cancelled() else batch.exception()
    if isinstance(error, GreenroomError):
        # The rest of the round is left to the next one: an outage may last, and is logged where it happens.
        logger.warning("retention postponed to the next round: %s", error)
        state.steps.clear()
    elif error is not None:
        logger.error("retention step failed: it is skipped until the next round", exc_info=error)
        if state.steps:
            state.steps.popleft()
    elif batches > 0 and state.steps and world.store.writer.queued < world.limits.writer_batch_max:
        try:
            submit(world, batches)
        except GreenroomError as rejection:
            logger.warning("retention batch not queued: %s", rejection)


def forget_some(world: World, tx: Transaction) -> None:
    """Delete one batch, step after step until it is full, and adapt the size of the next one to its duration."""
    state = world.retention
    rows = left = state.rows or min(ROWS_AT_FIRST, world.limits.retention_rows_max)
    while left > 0 and state.steps:
        count = STEPS[state.steps[0]](world, tx, left)
        if count == 0:
            state.steps.popleft()
        left -= count
        state.forgotten += count
    state.rows = next_rows(rows, world.clock.monotonic() - tx.now.monotonic, world.limits.retention_rows_max)


def forget_deleted(world: World, tx: Transaction, limit: int) -> int:
    """Delete what belonged to a deleted room or machine, one interval later: its readers can read its last events."""
    stream = retention.next_deletion(tx, ago(tx, world.limits.retention_interval_s))
    if stream is None:
        return 0
    kind, _, subject = stream.partition(":")
    if kind == "room":
        for delete_some in (retention.forget_tasks, retention.forget_messages, retention.forget_sittings_of):
            if count := delete_some(tx, subject, limit):
                return count
    if count := retention.forget_of_stream(tx, stream, 0, limit):
        return count
    retention.forget_stream(tx, stream)
    return 1


def forget_events(world: World, tx: Transaction, limit: int) -> int:
    """Delete events that are older than `events_kept_s`."""
    return retention.forget_events(tx, ago(tx, world.limits.events_kept_s), limit)


def forget_of_long_streams(world: World, tx: Transaction, limit: int) -> int:
    """Delete the oldest events of streams that have more than `events_kept_max`."""
    state = world.retention
    for stream in [*state.long_streams][:1]:
        count = retention.forget_of_stream(tx, stream, world.limits.events_kept_max, limit)
        if count < limit:
            state.long_streams.discard(stream)
        return max(count, 1)
    return 0


def forget_sittings(world: World, tx: Transaction, limit: int) -> int:
    """Delete participants that ended longer than `sittings_kept_s` ago."""
    state = world.retention
    before = ago(tx, world.limits.sittings_kept_s)
    count, state.after_sitting = retention.forget_sittings(tx, before, state.after_sitting, limit)
    return count


def forget_facts(world: World, tx: Transaction, limit: int) -> int:
    """Delete the ids of reports that were accepted longer than `facts_kept_s` ago."""
    return retention.forget_facts(tx, ago(tx, world.limits.facts_kept_s), limit)


def forget_incarnations(world: World, tx: Transaction, limit: int) -> int:
    """Delete incarnations of daemons from longer than `incarnations_kept_s` ago."""
    return retention.forget_incarnations(tx, ago(tx, world.limits.incarnations_kept_s), limit)


def forget_answers(world: World, tx: Transaction, limit: int) -> int:
    """Delete the answers kept under idempotency keys that are older than `idempotency_kept_s`."""
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
