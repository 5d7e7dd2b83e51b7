"""Deletes old rows of every table that grows, in steps of a few rows.

Each function that takes a `limit` goes through about that many rows at most, oldest first, and returns how many it went
through: 0 means that nothing is left to delete. `greenroom.service.retention` decides when and how old.
"""

from sqlalchemy import Column, Named, Table, TypedColumns, bindparam, delete, exists, select, tuple_

from greenroom.domain.participant import CLOSED
from greenroom.domain.task import OPEN_STATES
from greenroom.store.compiled_sql import Statement, upsert
from greenroom.store.event_log import counters, events, get_stored_seq, streams
from greenroom.store.idempotency_keys import idempotency_keys
from greenroom.store.machines import incarnations, machines, reports
from greenroom.store.messages import messages
from greenroom.store.participants import participants
from greenroom.store.rooms import roles
from greenroom.store.rows import bind_columns
from greenroom.store.schema import INTEGER, STRICT, TEXT, metadata
from greenroom.store.task_attempts import attempts, late_results, notes
from greenroom.store.tasks import tasks
from greenroom.store.transaction import Reader, Transaction


class DeletionColumns(TypedColumns):
    """The streams of deleted rooms and machines of which some rows are left."""

    stream: Named[str] = Column(TEXT, primary_key=True)
    at: Named[str] = Column(TEXT)


deletions = Table("deletions", metadata, DeletionColumns, **STRICT)

DELETED_POS = "forgotten_pos"
"""The counter with the newest deleted position over all streams: only above it no event is missing."""
PARTICIPANT_POSITION = ("ended_at", "room", "role", "epoch")
BEFORE_ALL_PARTICIPANTS = ("", "", "", 0)

_limit = bindparam("limit", type_=INTEGER)
_before = bindparam("before", type_=TEXT)
_room = bindparam("room", type_=TEXT)
_stream = bindparam("stream", type_=TEXT)
_last = bindparam("last", type_=INTEGER)

ADD_DELETION = Statement(
    upsert(deletions)
    .values(bind_columns(deletions, ("stream", "at")))
    .on_conflict_do_nothing(index_elements=["stream"])
)
REMOVE_DELETION = Statement(delete(deletions).where(deletions.c.stream == _stream))
OLDEST_DELETION = Statement(
    select(deletions.c.stream).where(deletions.c.at < _before).order_by(deletions.c.at, deletions.c.stream).limit(1)
)

GET_DELETED_POS = Statement(select(counters.c.value).where(counters.c.name == DELETED_POS))
_counter = upsert(counters).values(name=DELETED_POS, value=bindparam("pos", type_=INTEGER))
RAISE_DELETED_POS = Statement(
    _counter.on_conflict_do_update(
        index_elements=[counters.c.name],
        set_={"value": _counter.excluded.value},
        where=counters.c.value < _counter.excluded.value,
    )
)
OLDEST_EVENTS = Statement(select(events.c.pos, events.c.at).order_by(events.c.pos).limit(_limit))
DELETE_EVENTS = Statement(delete(events).where(events.c.pos <= _last))
OLDEST_OF_STREAM = Statement(
    select(events.c.seq, events.c.pos)
    .where(events.c.stream == _stream, events.c.seq <= _last)
    .order_by(events.c.seq)
    .limit(_limit)
)
DELETE_OF_STREAM = Statement(delete(events).where(events.c.stream == _stream, events.c.seq <= _last))
LONG_STREAMS = Statement(select(streams.c.stream).where(streams.c.last_seq > bindparam("events_max", type_=INTEGER)))
DELETE_STREAM = Statement(delete(streams).where(streams.c.stream == _stream))

OLDEST_TASKS = Statement(select(tasks.c.num).where(tasks.c.room == _room).order_by(tasks.c.num).limit(_limit))
_first_tasks = (tasks.c.room == _room, tasks.c.num <= _last)
_first_task_ids = select(tasks.c.id).where(*_first_tasks)
DELETE_WITH_TASKS = tuple(
    Statement(delete(table).where(table.c.task.in_(_first_task_ids))) for table in (late_results, attempts, notes)
)
DELETE_TASKS = Statement(delete(tasks).where(*_first_tasks))
OLDEST_MESSAGES = Statement(
    select(messages.c.num).where(messages.c.room == _room).order_by(messages.c.num).limit(_limit)
)
DELETE_MESSAGES = Statement(delete(messages).where(messages.c.room == _room, messages.c.num <= _last))
OLDEST_PARTICIPANTS = Statement(
    select(participants.c.role, participants.c.epoch)
    .where(participants.c.room == _room)
    .order_by(participants.c.role, participants.c.epoch)
    .limit(_limit)
)
_participant = (
    participants.c.room == _room,
    participants.c.role == bindparam("role", type_=TEXT),
    participants.c.epoch == bindparam("epoch", type_=INTEGER),
)
DELETE_PARTICIPANT = Statement(delete(participants).where(*_participant))

_end_position = tuple_(*(participants.c[name] for name in PARTICIPANT_POSITION))
ENDED_PARTICIPANTS = Statement(
    select(*(participants.c[name] for name in PARTICIPANT_POSITION))
    .where(
        participants.c.status == CLOSED,
        participants.c.ended_at < _before,
        _end_position
        > tuple_(*(bindparam(f"after_{name}", type_=participants.c[name].type) for name in PARTICIPANT_POSITION)),
    )
    .order_by(*(participants.c[name] for name in PARTICIPANT_POSITION))
    .limit(_limit)
)
# A participant that ended after an open task was opened may have had an attempt at it, and may still send its result.
DELETE_UNNEEDED_PARTICIPANT = Statement(
    delete(participants).where(
        *_participant,
        exists().where(
            roles.c.room == participants.c.room,
            roles.c.name == participants.c.role,
            roles.c.epoch > participants.c.epoch,
        ),
        ~exists().where(
            tasks.c.room == participants.c.room,
            tasks.c.status.in_(OPEN_STATES),
            tasks.c.target_role == participants.c.role,
            tasks.c.created_at <= participants.c.ended_at,
        ),
    )
)

OLDEST_REPORTS = Statement(select(reports.c.at).where(reports.c.at < _before).order_by(reports.c.at).limit(_limit))
DELETE_REPORTS = Statement(delete(reports).where(reports.c.at <= bindparam("newest", type_=TEXT)))
OLDEST_IDEMPOTENCY_KEYS = Statement(
    select(idempotency_keys.c.at).where(idempotency_keys.c.at < _before).order_by(idempotency_keys.c.at).limit(_limit)
)
DELETE_IDEMPOTENCY_KEYS = Statement(
    delete(idempotency_keys).where(idempotency_keys.c.at <= bindparam("newest", type_=TEXT))
)
OLD_INCARNATIONS = Statement(
    select(incarnations.c.machine, incarnations.c.incarnation)
    .where(
        incarnations.c.at < _before,
        ~exists().where(machines.c.id == incarnations.c.machine, machines.c.incarnation == incarnations.c.incarnation),
    )
    .order_by(incarnations.c.at)
    .limit(_limit)
)
DELETE_INCARNATION = Statement(
    delete(incarnations).where(
        incarnations.c.machine == bindparam("machine", type_=TEXT),
        incarnations.c.incarnation == bindparam("incarnation", type_=TEXT),
    )
)


def schedule_deletion(tx: Transaction, stream: str) -> None:
    """Schedule the deletion of everything that belongs to the stream of a deleted room or machine."""
    tx.execute(ADD_DELETION, stream=stream, at=tx.now.instant)


def cancel_deletion(tx: Transaction, stream: str) -> None:
    """Cancel the deletion of a stream: its room or machine exists again."""
    tx.execute(REMOVE_DELETION, stream=stream)


def get_oldest_deletion(reader: Reader, before: str) -> str | None:
    """The stream whose room or machine was deleted first, if that was before the instant `before`."""
    row = reader.row(OLDEST_DELETION, before=before)
    return row[0] if row else None


def get_deleted_pos(reader: Reader) -> int:
    """The newest deleted position over all streams; 0 if no event was deleted."""
    row = reader.row(GET_DELETED_POS)
    return row[0] if row else 0


def delete_events(tx: Transaction, before: str, limit: int) -> int:
    """Delete events of all streams that are older than an instant. Only the beginning of the log, so no gap appears."""
    positions = []
    for pos, at in tx.rows(OLDEST_EVENTS, limit=limit):
        if at >= before:
            break
        positions.append(pos)
    if positions:
        tx.execute(DELETE_EVENTS, last=positions[-1])
        tx.execute(RAISE_DELETED_POS, pos=positions[-1])
    return len(positions)


def delete_events_of_stream(tx: Transaction, stream: str, kept_max: int, limit: int) -> int:
    """Delete the oldest events of a stream, down to its `kept_max` newest ones."""
    last = get_stored_seq(tx, stream) - kept_max
    rows = tx.rows(OLDEST_OF_STREAM, stream=stream, last=last, limit=limit)
    if rows:
        seq, pos = rows[-1]
        tx.execute(DELETE_OF_STREAM, stream=stream, last=seq)
        tx.execute(RAISE_DELETED_POS, pos=pos)
    return len(rows)


def delete_stream(tx: Transaction, stream: str) -> None:
    """Delete the last number of a stream without events, and the record of its deletion."""
    tx.execute(DELETE_STREAM, stream=stream)
    tx.execute(REMOVE_DELETION, stream=stream)


def list_long_streams(reader: Reader, events_max: int) -> list[str]:
    """The streams that have had more than `events_max` events."""
    return [row[0] for row in reader.rows(LONG_STREAMS, events_max=events_max)]


def delete_tasks(tx: Transaction, room: str, limit: int) -> int:
    """Delete the oldest tasks of a deleted room, with their late results, attempts and notes."""
    rows = tx.rows(OLDEST_TASKS, room=room, limit=limit)
    if rows:
        for statement in (*DELETE_WITH_TASKS, DELETE_TASKS):
            tx.execute(statement, room=room, last=rows[-1][0])
    return len(rows)


def delete_messages(tx: Transaction, room: str, limit: int) -> int:
    """Delete the oldest messages of a deleted room."""
    rows = tx.rows(OLDEST_MESSAGES, room=room, limit=limit)
    if rows:
        tx.execute(DELETE_MESSAGES, room=room, last=rows[-1][0])
    return len(rows)


def delete_participants_of_room(tx: Transaction, room: str, limit: int) -> int:
    """Delete participants of a deleted room."""
    rows = tx.rows(OLDEST_PARTICIPANTS, room=room, limit=limit)
    tx.execute_many(DELETE_PARTICIPANT, [{"room": room, "role": role, "epoch": epoch} for role, epoch in rows])
    return len(rows)


def delete_unneeded_participants(
    tx: Transaction, before: str, after: tuple[str, str, str, int], limit: int
) -> tuple[int, tuple[str, str, str, int]]:
    """Delete closed participants that ended before an instant and are not needed any more, starting after `after`.

    Needed are the newest of a role, and those that may have had an attempt at a task that is still open. Also returns
    the last one that it went through, to be passed as `after` next time, so that the needed ones are not read again.
    """
    position = {f"after_{name}": value for name, value in zip(PARTICIPANT_POSITION, after, strict=True)}
    rows = tx.rows(ENDED_PARTICIPANTS, before=before, limit=limit, **position)
    names = ("room", "role", "epoch")
    tx.execute_many(DELETE_UNNEEDED_PARTICIPANT, [dict(zip(names, row[1:], strict=True)) for row in rows])
    return len(rows), rows[-1] if rows else after


def delete_reports(tx: Transaction, before: str, limit: int) -> int:
    """Delete the ids of reports that were recorded before an instant."""
    rows = tx.rows(OLDEST_REPORTS, before=before, limit=limit)
    return tx.execute(DELETE_REPORTS, newest=rows[-1][0]) if rows else 0


def delete_idempotency_keys(tx: Transaction, before: str, limit: int) -> int:
    """Delete idempotency keys whose reply was sent before an instant."""
    rows = tx.rows(OLDEST_IDEMPOTENCY_KEYS, before=before, limit=limit)
    return tx.execute(DELETE_IDEMPOTENCY_KEYS, newest=rows[-1][0]) if rows else 0


def delete_incarnations(tx: Transaction, before: str, limit: int) -> int:
    """Delete starts of daemons before an instant, except the current one of each machine."""
    rows = tx.rows(OLD_INCARNATIONS, before=before, limit=limit)
    tx.execute_many(DELETE_INCARNATION, [{"machine": machine, "incarnation": name} for machine, name in rows])
    return len(rows)
