"""Stores participants: those that are present, absent and closed."""

from sqlalchemy import CheckConstraint, Column, Index, Named, Table, TypedColumns, bindparam, insert, select, update

from greenroom.domain.participant import ABSENT, CLOSED, PRESENT, Participant
from greenroom.store.compiled_sql import Statement
from greenroom.store.rows import bind_columns, encode_fields, row_decoder
from greenroom.store.schema import INTEGER, STRICT, TEXT, metadata
from greenroom.store.transaction import Reader, Transaction


class ParticipantColumns(TypedColumns):
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


participants = Table(
    "participants",
    metadata,
    ParticipantColumns,
    CheckConstraint(f"status IN ('{PRESENT}', '{ABSENT}', '{CLOSED}')", name="status"),
    CheckConstraint("lease IN ('beat', 'detached', 'work')", name="lease"),
    **STRICT,
)
Index("ix_participants_epoch", participants.c.room, participants.c.role, participants.c.epoch, unique=True)
Index(
    "ix_participants_present",
    participants.c.room,
    participants.c.role,
    unique=True,
    sqlite_where=participants.c.status == PRESENT,
    postgresql_where=participants.c.status == PRESENT,
)
Index("ix_participants_machine", participants.c.machine, participants.c.status)
Index("ix_participants_ended", participants.c.ended_at, participants.c.room, participants.c.role, participants.c.epoch)

FIELDS = Participant.__struct_fields__
CHANGES = ("status", "lease", "machine", "ended_at", "end_cause")
_participant = select(*(participants.c[name] for name in FIELDS))
_of_role = (participants.c.room == bindparam("room"), participants.c.role == bindparam("role"))

ADD = Statement(insert(participants).values(bind_columns(participants, FIELDS)))
GET = Statement(_participant.where(*_of_role, participants.c.connection_id == bindparam("connection_id")), cached=True)
NEWEST = Statement(_participant.where(*_of_role).order_by(participants.c.epoch.desc()).limit(1))
PRESENT_IN_ROOM = Statement(
    _participant.where(participants.c.room == bindparam("room"), participants.c.status == PRESENT)
)
PRESENT_ON_MACHINE = Statement(
    _participant.where(participants.c.machine == bindparam("machine"), participants.c.status == PRESENT)
)
OPEN_ON_MACHINE = Statement(
    _participant.where(participants.c.machine == bindparam("machine"), participants.c.status.in_((PRESENT, ABSENT)))
)
ALL_PRESENT = Statement(_participant.where(participants.c.status == PRESENT))
NEWEST_CLOSED = Statement(
    _participant.where(participants.c.status == CLOSED)
    .order_by(
        participants.c.ended_at.desc(),
        participants.c.room.desc(),
        participants.c.role.desc(),
        participants.c.epoch.desc(),
    )
    .limit(bindparam("limit", type_=INTEGER))
)
SAVE = Statement(
    update(participants)
    .where(
        *_of_role,
        participants.c.connection_id == bindparam("connection_id"),
        participants.c.epoch == bindparam("epoch", type_=INTEGER),
        participants.c.status == bindparam("was_status"),
    )
    .values(bind_columns(participants, CHANGES))
)

_read = row_decoder(Participant, FIELDS)


def add(tx: Transaction, participant: Participant) -> None:
    """Add a new participant."""
    tx.execute_deferred(ADD, **encode_fields(participant, FIELDS))


def get(reader: Reader, room: str, role: str, connection_id: str) -> Participant | None:
    """Find the participant of a connection in a role."""
    row = reader.row(GET, room=room, role=role, connection_id=connection_id)
    return _read(row) if row else None


def get_newest(reader: Reader, room: str, role: str) -> Participant | None:
    """The newest participant of a role: the only one that can be present or rejoin."""
    row = reader.row(NEWEST, room=room, role=role)
    return _read(row) if row else None


def get_present(reader: Reader, room: str, role: str) -> Participant | None:
    """The participant that is present in a role, if any."""
    participant = get_newest(reader, room, role)
    return participant if participant is not None and participant.status == PRESENT else None


def list_present_in_room(reader: Reader, room: str) -> list[Participant]:
    """The participants that are present in a room."""
    return [_read(row) for row in reader.rows(PRESENT_IN_ROOM, room=room)]


def list_present_on_machine(reader: Reader, machine: str) -> list[Participant]:
    """The present participants for which a machine's daemon sends heartbeats."""
    return [_read(row) for row in reader.rows(PRESENT_ON_MACHINE, machine=machine)]


def list_open_on_machine(reader: Reader, machine: str) -> list[Participant]:
    """The participants of a machine that are present or absent: an absent one may rejoin."""
    return [_read(row) for row in reader.rows(OPEN_ON_MACHINE, machine=machine)]


def list_all_present(reader: Reader) -> list[Participant]:
    """All present participants."""
    return [_read(row) for row in reader.rows(ALL_PRESENT)]


def list_newest_closed(reader: Reader, limit: int) -> list[Participant]:
    """The last `limit` participants that were closed, in the order in which they ended."""
    return [_read(row) for row in reversed(reader.rows(NEWEST_CLOSED, limit=limit))]


def save(tx: Transaction, before: Participant, after: Participant) -> None:
    """Write a changed participant. Fails with RowsDiffer if its status is not as in `before`."""
    tx.execute_deferred(
        SAVE,
        room=before.room,
        role=before.role,
        connection_id=before.connection_id,
        epoch=before.epoch,
        was_status=before.status,
        **encode_fields(after, CHANGES),
    )
