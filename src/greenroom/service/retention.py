"""Retention: deletes what need not be kept any longer, in small batches, so that other writes wait for one batch only.

The sweep drives it. A round runs every step of STEPS until that has nothing left to delete. Progress is found in the
store, so a restarted server continues.

Options: `retention_interval_s`, `retention_rows_max`, `events_kept_s`, `events_kept_max`, `participants_kept_s`,
`reports_kept_s`, `incarnations_kept_s`, `idempotency_kept_s`.
Limits: a batch begins with few rows and grows as long as it stays fast; under a full writer queue a round pauses until
the next sweep; a step that fails is skipped until the next round.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from greenroom.clock import format_instant, parse_instant
from greenroom.domain.errors import GreenroomError
from greenroom.domain.event import Event
from greenroom.domain.retention import BATCHES_PER_SWEEP, FIRST_BATCH_ROWS, next_batch_rows
from greenroom.service.context import ServiceContext
from greenroom.service.state.retention_state import BatchProgress
from greenroom.store import retention
from greenroom.store.transaction import Reader, Transaction

logger = logging.getLogger("greenroom.service.retention")

Step = Callable[[ServiceContext, Transaction, BatchProgress, int], int]
"""Deletes at most about as many rows as given, and returns how many it went through; 0 when nothing is left."""


def record_long_streams(context: ServiceContext, events: Sequence[Event]) -> None:
    """Record which streams now have more than `events_kept_max` events."""
    kept_max = context.limits.events_kept_max
    context.long_streams.add(event.stream for event in events if event.seq > kept_max)


def restore_long_streams(context: ServiceContext, reader: Reader) -> None:
    """Find the streams with more than `events_kept_max` events after a restart."""
    context.long_streams.add(retention.list_long_streams(reader, context.limits.events_kept_max))


def continue_round(context: ServiceContext) -> None:
    """Continue a round, or begin one when it is due."""
    state, now = context.retention, context.clock.monotonic()
    if state.is_running:
        return
    if not state.steps:
        if now < state.next_round_at:
            return
        state.next_round_at = now + context.limits.retention_interval_s
        state.steps.extend(STEPS)
        state.after_participant = None
    submit_batch(context, BATCHES_PER_SWEEP)


def submit_batch(context: ServiceContext, batches: int) -> None:
    """Queue the next batch, and up to `batches` in all, one after the other; other writes run in between."""
    progress = context.retention.begin_batch()
    context.retention.is_running = True
    try:
        batch = context.store.write(partial(delete_batch, context, progress))
    except BaseException:
        context.retention.is_running = False
        raise
    batch.add_done_callback(partial(on_batch_done, context, batches - 1, progress))


def on_batch_done(context: ServiceContext, batches: int, progress: BatchProgress, batch: "Future[None]") -> None:
    """After a batch, queue the next one if the writer's queue is short. A step that failed is skipped in this round."""
    state = context.retention
    state.is_running = False
    error = None if batch.cancelled() else batch.exception()
    if isinstance(error, GreenroomError):
        # The rest of the round is left to the next one: an outage may last, and is logged where it happens.
        logger.warning("retention postponed to the next round: %s", error)
        state.steps.clear()
    elif error is not None:
        logger.error("retention step failed: it is skipped until the next round", exc_info=error)
        state.skip_failed_step(progress)
    else:
        state.adopt(progress)
        if batches > 0 and state.steps and context.store.writer.queued < context.limits.writer_batch_max:
            try:
                submit_batch(context, batches)
            except GreenroomError as rejection:
                logger.warning("retention batch not queued: %s", rejection)


def delete_batch(context: ServiceContext, progress: BatchProgress, tx: Transaction) -> None:
    """Delete one batch, step after step until it is full, and adapt the size of the next one to its duration."""
    rows = left = progress.rows or min(FIRST_BATCH_ROWS, context.limits.retention_rows_max)
    while left > 0 and progress.steps:
        count = STEPS[progress.steps[0]](context, tx, progress, left)
        if count == 0:
            progress.steps.popleft()
        left -= count
    took_s = context.clock.monotonic() - tx.now.monotonic
    progress.rows = next_batch_rows(rows, took_s, context.limits.retention_rows_max)


def delete_remains(context: ServiceContext, tx: Transaction, progress: BatchProgress, limit: int) -> int:
    """Delete what belonged to a deleted room or machine, one interval later: its readers can read its last events."""
    stream = retention.get_oldest_deletion(tx, instant_before(tx, context.limits.retention_interval_s))
    if stream is None:
        return 0
    kind, _, subject = stream.partition(":")
    if kind == "room":
        for delete_some in (retention.delete_tasks, retention.delete_messages, retention.delete_participants_of_room):
            if count := delete_some(tx, subject, limit):
                return count
    if count := retention.delete_events_of_stream(tx, stream, 0, limit):
        return count
    retention.delete_stream(tx, stream)
    return 1


def delete_old_events(context: ServiceContext, tx: Transaction, progress: BatchProgress, limit: int) -> int:
    """Delete events that are older than `events_kept_s`."""
    return retention.delete_events(tx, instant_before(tx, context.limits.events_kept_s), limit)


def trim_long_streams(context: ServiceContext, tx: Transaction, progress: BatchProgress, limit: int) -> int:
    """Delete the oldest events of streams that have more than `events_kept_max`."""
    long_streams = [stream for stream in context.long_streams.list_all() if stream not in progress.trimmed]
    if not long_streams:
        return 0
    stream = long_streams[0]
    count = retention.delete_events_of_stream(tx, stream, context.limits.events_kept_max, limit)
    if count < limit:
        progress.trimmed.add(stream)
        tx.on_commit(partial(context.long_streams.discard, stream))
    return max(count, 1)


def delete_old_participants(context: ServiceContext, tx: Transaction, progress: BatchProgress, limit: int) -> int:
    """Delete participants that ended longer than `participants_kept_s` ago."""
    before = instant_before(tx, context.limits.participants_kept_s)
    after = progress.after_participant or retention.BEFORE_ALL_PARTICIPANTS
    count, progress.after_participant = retention.delete_unneeded_participants(tx, before, after, limit)
    return count


def delete_old_reports(context: ServiceContext, tx: Transaction, progress: BatchProgress, limit: int) -> int:
    """Delete the ids of reports that were accepted longer than `reports_kept_s` ago."""
    return retention.delete_reports(tx, instant_before(tx, context.limits.reports_kept_s), limit)


def delete_old_incarnations(context: ServiceContext, tx: Transaction, progress: BatchProgress, limit: int) -> int:
    """Delete incarnations of daemons from longer than `incarnations_kept_s` ago."""
    return retention.delete_incarnations(tx, instant_before(tx, context.limits.incarnations_kept_s), limit)


def delete_old_answers(context: ServiceContext, tx: Transaction, progress: BatchProgress, limit: int) -> int:
    """Delete the answers kept under idempotency keys that are older than `idempotency_kept_s`."""
    return retention.delete_idempotency_keys(tx, instant_before(tx, context.limits.idempotency_kept_s), limit)


def instant_before(tx: Transaction, seconds: float) -> str:
    """The instant that was `seconds` ago."""
    return format_instant(parse_instant(tx.now.instant) - seconds)


STEPS: dict[str, Step] = {
    "idempotency_keys": delete_old_answers,
    "events": delete_old_events,
    "long streams": trim_long_streams,
    "participants": delete_old_participants,
    "reports": delete_old_reports,
    "incarnations": delete_old_incarnations,
    "deleted": delete_remains,
}
