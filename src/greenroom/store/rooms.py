"""Rooms and their roles, remembered. Must not know what may be done with them."""

from typing import Any

import msgspec
from sqlalchemy import CheckConstraint, Column, Index, Named, Table, TypedColumns, bindparam, insert, select, update

from greenroom.domain.role import Role
from greenroom.domain.room import CLOSED, OPEN, Room
from greenroom.store import paging
from greenroom.store.records import binds, fields_of, read_as
from greenroom.store.schema import INTEGER, STRICT, TEXT, metadata
from greenroom.store.statement import Statement
from greenroom.store.transaction import Reader, Row, Transaction


class RoomColumns(TypedColumns):
    """`num` is the order in which rooms were made."""

    num: Named[int] = Column(INTEGER, primary_key=True)
    id: Named[str] = Column(TEXT, unique=True)
    name: Named[str] = Column(TEXT, unique=True)
    status: Named[str] = Column(TEXT)
    entry_role: Named[str] = Column(TEXT)
    max_requests: Named[int] = Column(INTEGER)
    roles: Named[str] = Column(TEXT)
    created_at: Named[str] = Column(TEXT)


class RoleColumns(TypedColumns):
    """`rests_until` and `last_exit` are what its daemon last said of an agent that it will run again."""

    room: Named[str] = Column(TEXT, primary_key=True)
    name: Named[str] = Column(TEXT, primary_key=True)
    position: Named[int] = Column(INTEGER)
    kind: Named[str] = Column(TEXT)
    machine: Named[str | None] = Column(TEXT, nullable=True)
    harness: Named[str | None] = Column(TEXT, nullable=True)
    model: Named[str | None] = Column(TEXT, nullable=True)
    workdir: Named[str | None] = Column(TEXT, nullable=True)
    desired: Named[str] = Column(TEXT)
    desired_by: Named[str | None] = Column(TEXT, nullable=True)
    desired_reason: Named[str | None] = Column(TEXT, nullable=True)
    generation: Named[int] = Column(INTEGER)
    epoch: Named[int] = Column(INTEGER)
    last_seen_at: Named[str | None] = Column(TEXT, nullable=True)
    rests_until: Named[str | None] = Column(TEXT, nullable=True)
    last_exit: Named[str | None] = Column(TEXT, nullable=True)


rooms = Table(
    "rooms", metadata, RoomColumns, CheckConstraint(f"status IN ('{OPEN}', '{CLOSED}')", name="status"), **STRICT
)
roles = Table(
    "roles",
    metadata,
    RoleColumns,
    CheckConstraint("kind IN ('remote', 'custom')", name="kind"),
    CheckConstraint("desired IN ('running', 'stopped')", name="desired"),
    **STRICT,
)
Index("ix_roles_machine", roles.c.machine)

ROOM_FIELDS = Room.__struct_fields__
ROLE_FIELDS = Role.__struct_fields__
ROLE_CHANGES = tuple(name for name in ROLE_FIELDS if name not in ("room", "name", "position"))

_room = select(*(rooms.c[name] for name in ROOM_FIELDS))
_role = select(*(roles.c[name] for name in ROLE_FIELDS))

ADD_ROOM = Statement(insert(rooms).values(binds(rooms, ROOM_FIELDS)))
ADD_ROLE = Statement(insert(roles).values(binds(roles, ROLE_FIELDS)))
ROOM_BY_ID = Statement(_room.where(rooms.c.id == bindparam("id")))
ROOM_BY_NAME = Statement(_room.where(rooms.c.name == bindparam("name")))
ROOM_NUM = Statement(select(rooms.c.num).where((rooms.c.id == bindparam("key")) | (rooms.c.name == bindparam("key"))))
ROOMS_AFTER = Statement(
    _room.where(rooms.c.num > bindparam("after", type_=INTEGER))
    .order_by(rooms.c.num)
    .limit(bindparam("limit", type_=INTEGER))
)
CLOSE_ROOM = Statement(update(rooms).where(rooms.c.id == bindparam("id"), rooms.c.status == OPEN).values(status=CLOSED))
ROLE = Statement(_role.where(roles.c.room == bindparam("room"), roles.c.name == bindparam("name")))
ROLES_OF_ROOM = Statement(_role.where(roles.c.room == bindparam("room")).order_by(roles.c.position))
ROLES_ON_MACHINE = Statement(
    _role.where(roles.c.machine == bindparam("machine")).order_by(roles.c.room, roles.c.position)
)
ALL_ROLES = Statement(_role.order_by(roles.c.room, roles.c.position))
SAVE_ROLE = Statement(
    update(roles)
    .where(
        roles.c.room == bindparam("room"),
        roles.c.name == bindparam("name"),
        roles.c.generation == bindparam("was_generation", type_=INTEGER),
        roles.c.epoch == bindparam("was_epoch", type_=INTEGER),
    )
    .values(binds(roles, ROLE_CHANGES))
)

_read_role = read_as(Role, ROLE_FIELDS)


def _read_room(row: Row) -> Room:
    values: dict[str, Any] = dict(zip(ROOM_FIELDS, row, strict=True))
    values["roles"] = tuple(msgspec.json.decode(values["roles"]))
    return Room(**values)


def add(tx: Transaction, room: Room, its_roles: tuple[Role, ...]) -> None:
    """Remember a new room and its roles, in order."""
    values = fields_of(room, ROOM_FIELDS)
    values["roles"] = msgspec.json.encode(room.roles).decode()
    tx.change(ADD_ROOM, **values)
    tx.change_many(ADD_ROLE, [fields_of(role, ROLE_FIELDS) for role in its_roles])


def get(reader: Reader, name_or_id: str) -> Room | None:
    """Find a room by its id or, failing that, its name."""
    row = reader.row(ROOM_BY_ID, id=name_or_id) or reader.row(ROOM_BY_NAME, name=name_or_id)
    return _read_room(row) if row else None


def page(reader: Reader, after: str | None, limit: int) -> list[Room]:
    """Up to `limit` rooms in the order they were made, those after the room `after` (id or name)."""
    num = paging.begin(reader, ROOM_NUM, after, key=after)
    return [_read_room(row) for row in reader.rows(ROOMS_AFTER, after=num, limit=limit)]


def close(tx: Transaction, room: str) -> bool:
    """Close an open room; False when it was not open."""
    return tx.change(CLOSE_ROOM, id=room) == 1


def role(reader: Reader, room: str, name: str) -> Role | None:
    """Find a role by its room's id and its name."""
    row = reader.row(ROLE, room=room, name=name)
    return _read_role(row) if row else None


def roles_of(reader: Reader, room: str) -> list[Role]:
    """The roles of a room, in order."""
    return [_read_role(row) for row in reader.rows(ROLES_OF_ROOM, room=room)]


def roles_on(reader: Reader, machine: str) -> list[Role]:
    """The roles that are wished onto a machine."""
    return [_read_role(row) for row in reader.rows(ROLES_ON_MACHINE, machine=machine)]


def all_roles(reader: Reader) -> list[Role]:
    """Every role there is, room by room."""
    return [_read_role(row) for row in reader.rows(ALL_ROLES)]


def save_role(tx: Transaction, before: Role, after: Role) -> None:
    """Write a changed role. It is an error if it is not as it was when it was read."""
    changed = tx.change(
        SAVE_ROLE,
        room=before.room,
        name=before.name,
        was_generation=before.generation,
        was_epoch=before.epoch,
        **fields_of(after, ROLE_CHANGES),
    )
    assert changed == 1, f"role {before.name} of {before.room} changed under its own transaction"
