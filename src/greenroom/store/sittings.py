"""Stores participants: those that are present, absent and closed."""

from sqlalchemy import CheckConstraint, Column, Index, Named, Table, TypedColumns, bindparam, insert, select, update

from greenroom.domain.sitting import ABSENT, CLOSED, PRESENT, Sitting
from greenroom.store.records import binds, fields_of, read_as
from greenroom.store.schema import INTEGER, STRICT, TEXT, metadata
from greenroom.store.statement import Statement
from greenroom.store.transaction import Reader, Transaction


class SittingColumns(TypedColumns):
    """At most one participant of a role is present; the newest has the highest epoch."""

    room: Named[str] = Column(TEXT, primary_key=True)
    role: Named[str] = Column(TEXT, primary_key=True)
    connection_id: Named[str] = Column(TEXT, primary_key=True)
    epoch: Named[int] = Column(INTEGER)
    status: Named[str] = Column(TEXT)
    lease: Named[str] = Column(TEXT)
    machine: Named[str | None] = Column(TEXT, nullable=True)
    joined_at: Named[str] = Column(TEXT)
    ended_at: Named[str | None] = Column(TEXT, nullable=True)
    end_cause: Named[str | None] = Column(TEXT, nullable=True)


sittings = Table(
    "sittings",
    metadata,
    SittingColumns,
    CheckConstraint(f"status IN ('{PRESENT}', '{ABSENT}', '{CLOSED}')", name="status"),
    CheckConstraint("lease IN ('beat', 'handed', 'work')", name="lease"),
    **STRICT,
)
Index("ix_sittings_epoch", sittings.c.room, sittings.c.role, sittings.c.epoch, unique=True)
Index(
    "ix_sittings_present",
    sittings.c.room,
    sittings.c.role,
    unique=True,
    sqlite_where=sittings.c.status == PRESENT,
    postgresql_where=sittings.c.status == PRESENT,
)
Index("ix_sittings_machine", sittings.c.machine, sittings.c.status)
Index("ix_sittings_ended", sittings.c.ended_at, sittings.c.room, sittings.c.role, sittings.c.epoch)

FIELDS = Sitting.__struct_fields__
CHANGES = ("status", "lease", "machine", "ended_at", "end_cause")
_participant = select(*(sittings.c[name] for name in FIELDS))
_of_role = (sittings.c.room == bindparam("room"), sittings.c.role == bindparam("role"))

ADD = Statement(insert(sittings).values(binds(sittings, FIELDS)))
GET = Statement(_participant.where(*_of_role, sittings.c.connection_id == bindparam("connection_id")), kept=True)
NEWEST = Statement(_participant.where(*_of_role).order_by(sittings.c.epoch.desc()).limit(1))
PRESENT_IN_ROOM = Statement(_participant.where(sittings.c.room == bindparam("room"), sittings.c.status == PRESENT))
PRESENT_ON_MACHINE = Statement(
    _participant.where(sittings.c.machine == bindparam("machine"), sittings.c.status == PRESENT)
)
OPEN_ON_MACHINE = Statement(
    _participant.where(sittings.c.machine == bindparam("machine"), sittings.c.status.in_((PRESENT, ABSENT)))
)
ALL_PRESENT = Statement(_participant.where(sittings.c.status == PRESENT))
NEWEST_CLOSED = Statement(
    _participant.where(sittings.c.status == CLOSED)
    .order_by(sittings.c.ended_at.desc(), sittings.c.room.desc(), sittings.c.role.desc(), sittings.c.epoch.desc())
    .limit(bindparam("limit", type_=INTEGER))
)
SAVE = Statement(
    update(sittings)
    .where(
        *_of_role,
        sittings.c.connection_id == bindparam("connection_id"),
        sittings.c.epoch == bindparam("epoch", type_=INTEGER),
        sittings.c.status == bindparam("was_status"),
    )
    .values(binds(sittings, CHANGES))
)

_read = read_as(Sitting, FIELDS)


def add(tx: Transaction, participant: Sitting) -> None:
    """Add a new participant."""
    tx.put(ADD, **fields_of(participant, FIELDS))


def get(reader: Reader, room: str, role: str, connection_id: str) -> Sitting | None:
    """Find the participant of a connection in a role."""
    row = reader.row(GET, room=room, role=role, connection_id=connection_id)
    return _read(row) if row else None


def newest(reader: Reader, room: str, role: str) -> Sitting | None:
    """The newest participant of a role: the only one that can be present or rejoin."""
    row = reader.row(NEWEST, room=room, role=role)
    return _read(row) if row else None


def present(reader: Reader, room: str, role: str) -> Sitting | None:
    """The participant that is present in a role, if any."""
    participant = newest(reader, room, role)
    return participant if participant is not None and participant.status == PRESENT else None


def present_in(reader: Reader, room: str) -> list[Sitting]:
    """The participants that are present in a room."""
    return [_read(row) for row in reader.rows(PRESENT_IN_ROOM, room=room)]


def present_on(reader: Reader, machine: str) -> list[Sitting]:
    """The present participants for which a machine's daemon sends heartbeats."""
    return [_read(row) for row in reader.rows(PRESENT_ON_MACHINE, machine=machine)]


def open_on(reader: Reader, machine: str) -> list[Sitting]:
    """The participants of a machine that are present or absent: an absent one may rejoin."""
    return [_read(row) for row in reader.rows(OPEN_ON_MACHINE, machine=machine)]


def all_present(reader: Reader) -> list[Sitting]:
    """All present participants."""
    return [_read(row) for row in reader.rows(ALL_PRESENT)]


def newest_closed(reader: Reader, limit: int) -> list[Sitting]:
    """The last `limit` participants that were closed, in the order in which they ended."""
    return [_read(row) for row in reversed(reader.rows(NEWEST_CLOSED, limit=limit))]


def save(tx: Transaction, before: Sitting, after: Sitting) -> None:
    """Write a changed participant. Fails with RowsDiffer if its status is not as in `before`."""
    tx.put(
        SAVE,
        room=before.room,
        role=before.role,
        connection_id=before.connection_id,
        epoch=before.epoch,
        was_status=before.status,
        **fields_of(after, CHANGES),
    )
