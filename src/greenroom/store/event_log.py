"""Stores the event log: committed events, numbered by `pos` over all streams and by `seq` within their stream."""

import msgspec
from sqlalchemy import Column, Named, Table, TypedColumns, UniqueConstraint, bindparam, insert, select

from greenroom.domain.event import Event
from greenroom.store.compiled_sql import Statement, upsert
from greenroom.store.read_cache import ReadCache
from greenroom.store.schema import INTEGER, STRICT, TEXT, metadata
from greenroom.store.transaction import Reader, Row, Transaction


class StreamColumns(TypedColumns):
    """The last `seq` of each stream. It stays when retention deletes the stream's events."""

    stream: Named[str] = Column(TEXT, primary_key=True)
    last_seq: Named[int] = Column(INTEGER)


class CounterColumns(TypedColumns):
    """Numbers that only increase, by name."""

    name: Named[str] = Column(TEXT, primary_key=True)
    value: Named[int] = Column(INTEGER)


class EventColumns(TypedColumns):
    """One row for each event, which is one committed transition."""

    pos: Named[int] = Column(INTEGER, primary_key=True, autoincrement=False)
    stream: Named[str] = Column(TEXT)
    seq: Named[int] = Column(INTEGER)
    type: Named[str] = Column(TEXT)
    at: Named[str] = Column(TEXT)
    cause: Named[str] = Column(TEXT)
    data: Named[str] = Column(TEXT)


streams = Table("streams", metadata, StreamColumns, **STRICT)
counters = Table("counters", metadata, CounterColumns, **STRICT)
events = Table("events", metadata, EventColumns, UniqueConstraint("stream", "seq"), **STRICT)

POS = "pos"

_stream = upsert(streams).values(stream=bindparam("stream"), last_seq=bindparam("last_seq"))
SAVE_LAST_SEQ = Statement(
    _stream.on_conflict_do_update(index_elements=[streams.c.stream], set_={"last_seq": _stream.excluded.last_seq})
)
APPEND = Statement(insert(events))
LAST_SEQ = Statement(select(streams.c.last_seq).where(streams.c.stream == bindparam("stream")))
LAST_POS = Statement(select(counters.c.value).where(counters.c.name == POS))
_counter = upsert(counters).values(name=POS, value=bindparam("value"))
SAVE_LAST_POS = Statement(
    _counter.on_conflict_do_update(index_elements=[counters.c.name], set_={"value": _counter.excluded.value})
)
EVENTS_AFTER = Statement(
    select(events)
    .where(events.c.stream == bindparam("stream"), events.c.seq > bindparam("after"))
    .order_by(events.c.seq)
    .limit(bindparam("limit", type_=INTEGER))
)
ALL_AFTER = Statement(
    select(events)
    .where(events.c.pos > bindparam("after"))
    .order_by(events.c.pos)
    .limit(bindparam("limit", type_=INTEGER))
)


class SequenceAllocator:
    """Numbers the events of one batch as each mutation succeeds, and writes them together before the commit.

    Numbers are assigned in memory. An undone mutation was assigned none, so no stream has a gap.
    """

    def __init__(self, memory: ReadCache) -> None:
        self._memory = memory
        self._rows: list[Row] = []
        self._unwritten: dict[str, int] = {}

    def count_unwritten(self, stream: str) -> int:
        """How many numbered events of a stream are not written yet."""
        return self._unwritten.get(stream, 0)

    def assign_numbers(self, transaction: Transaction) -> list[Event]:
        """Number the events of a transaction and return them."""
        recorded = transaction.events
        if not recorded:
            return []
        memory, first = self._memory, len(self._rows)
        seqs = memory.last_seqs
        # Everything that can fail comes before the first number is assigned.
        last = get_last_pos(transaction) if memory.last_pos is None else memory.last_pos
        for stream in {event.stream for event in recorded} - seqs.keys():
            seqs[stream] = get_stored_seq(transaction, stream)
        for pos, (stream, type, cause, data) in enumerate(recorded, last + 1):
            seqs[stream] += 1
            self._unwritten[stream] = self._unwritten.get(stream, 0) + 1
            self._rows.append((pos, stream, seqs[stream], type, transaction.now.instant, cause, data))
        memory.last_pos = last + len(recorded)
        return [decode_event(row) for row in self._rows[first:]]

    def write(self, transaction: Transaction) -> None:
        """Write the numbered events, the last `seq` of their streams and the last `pos`."""
        if self._rows:
            names, seqs = Event.__struct_fields__, self._memory.last_seqs
            transaction.execute_many_deferred(APPEND, [dict(zip(names, row, strict=True)) for row in self._rows])
            transaction.execute_many_deferred(
                SAVE_LAST_SEQ, [{"stream": name, "last_seq": seqs[name]} for name in self._unwritten]
            )
            transaction.execute_many_deferred(SAVE_LAST_POS, [{"value": self._memory.last_pos}])
            self._memory.trim_streams()


def decode_event(row: Row) -> Event:
    """Convert a row to an event. Published events are converted here too, so live and replayed events are equal."""
    pos, stream, seq, type, at, cause, data = row
    return Event(pos, stream, seq, type, at, cause, msgspec.json.decode(data))


def get_last_pos(reader: Reader) -> int:
    """The position of the newest event over all streams; 0 before the first."""
    row = reader.row(LAST_POS)
    return row[0] if row else 0


def get_last_seq(reader: Reader, stream: str) -> int:
    """The number of a stream's newest event, including events recorded in this transaction; 0 before the first."""
    return get_stored_seq(reader, stream) + reader.count_unwritten(stream)


def get_stored_seq(reader: Reader, stream: str) -> int:
    """The number of a stream's newest stored event; 0 before the first."""
    row = reader.row(LAST_SEQ, stream=stream)
    return row[0] if row else 0


def list_events_after(reader: Reader, stream: str, seq: int, limit: int) -> list[Event]:
    """Up to `limit` events of a stream after number `seq`, oldest first."""
    return [decode_event(row) for row in reader.rows(EVENTS_AFTER, stream=stream, after=seq, limit=limit)]


def list_all_after(reader: Reader, pos: int, limit: int) -> list[Event]:
    """Up to `limit` events of all streams after position `pos`, in commit order."""
    return [decode_event(row) for row in reader.rows(ALL_AFTER, after=pos, limit=limit)]
