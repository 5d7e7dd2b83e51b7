"""Stores rooms and their roles."""

from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import (
    CheckConstraint,
    Column,
    Index,
    Named,
    Table,
    TypedColumns,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from greenroom.domain.role import Role
from greenroom.domain.room import CLOSED, OPEN, Room
from greenroom.store.compiled_sql import Statement
from greenroom.store.rows import bind_columns, encode_fields, resolve_cursor, row_decoder
from greenroom.store.schema import INTEGER, REAL, STRICT, TEXT, metadata
from greenroom.store.transaction import Reader, Row, Transaction


class RoomColumns(TypedColumns):
    """`num` is the order in which rooms were created."""

    num: Named[int] = Column(INTEGER, primary_key=True)
    id: Named[str] = Column(TEXT, unique=True)
    name: Named[str] = Column(TEXT, unique=True)
    status: Named[str] = Column(TEXT)
    entry_role: Named[str] = Column(TEXT)
    max_requests: Named[int] = Column(INTEGER)
    roles: Named[str] = Column(TEXT)
    created_at: Named[str] = Column(TEXT)
    closed_at: Named[str | None] = Column(TEXT, nullable=True)


class RoleColumns(TypedColumns):
    """`hold`, `hold_until` and `last_exit` are the daemon's last report of an agent that it does not run now.

    A role with `removed_at` was removed from its room. Its row stays to keep its numbers, in case it is added again.
    """

    room: Named[str] = Column(TEXT, primary_key=True)
    name: Named[str] = Column(TEXT, primary_key=True)
    position: Named[int] = Column(INTEGER)
    kind: Named[str] = Column(TEXT)
    machine: Named[str | None] = Column(TEXT, nullable=True)
    harness: Named[str | None] = Column(TEXT, nullable=True)
    model: Named[str | None] = Column(TEXT, nullable=True)
    workdir: Named[str | None] = Column(TEXT, nullable=True)
    task_timeout_s: Named[float | None] = Column(REAL, nullable=True)
    desired: Named[str] = Column(TEXT)
    desired_by: Named[str | None] = Column(TEXT, nullable=True)
    desired_reason: Named[str | None] = Column(TEXT, nullable=True)
    configured_at: Named[str | None] = Column(TEXT, nullable=True)
    generation: Named[int] = Column(INTEGER)
    epoch: Named[int] = Column(INTEGER)
    last_seen_at: Named[str | None] = Column(TEXT, nullable=True)
    hold: Named[str | None] = Column(TEXT, nullable=True)
    hold_until: Named[str | None] = Column(TEXT, nullable=True)
    last_exit: Named[str | None] = Column(TEXT, nullable=True)
    removed_at: Named[str | None] = Column(TEXT, nullable=True)
    run_generation: Named[int] = Column(INTEGER)
    empty: Named[str] = Column(TEXT)


rooms = Table(
    "rooms", metadata, RoomColumns, CheckConstraint(f"status IN ('{OPEN}', '{CLOSED}')", name="status"), **STRICT
)
roles = Table(
    "roles",
    metadata,
    RoleColumns,
    CheckConstraint("kind IN ('remote', 'custom')", name="kind"),
    CheckConstraint("desired IN ('running', 'stopped')", name="desired"),
    CheckConstraint("hold IN ('backing_off', 'crash_looping', 'paused')", name="hold"),
    CheckConstraint("empty IN ('ok', 'failure')", name="empty"),
    **STRICT,
)
Index("ix_roles_machine", roles.c.machine)

ROOM_FIELDS = Room.__struct_fields__
ROLE_FIELDS = Role.__struct_fields__
ROLE_CHANGES = tuple(name for name in ROLE_FIELDS if name not in ("room", "name"))
ROOM_CHANGES = ("name", "status", "entry_role", "max_requests", "roles", "closed_at")

_room = select(*(rooms.c[name] for name in ROOM_FIELDS))
_role = select(*(roles.c[name] for name in ROLE_FIELDS))
_not_removed = roles.c.removed_at.is_(None)
_by_name = (roles.c.room == bindparam("room"), roles.c.name == bindparam("name"))

ADD_ROOM = Statement(insert(rooms).values(bind_columns(rooms, ROOM_FIELDS)))
ADD_ROLE = Statement(insert(roles).values(bind_columns(roles, ROLE_FIELDS)))
ROOM_BY_ID = Statement(_room.where(rooms.c.id == bindparam("id")), cached=True)
ROOM_BY_NAME = Statement(_room.where(rooms.c.name == bindparam("name")), cached=True)
ROOM_NUM = Statement(select(rooms.c.num).where((rooms.c.id == bindparam("key")) | (rooms.c.name == bindparam("key"))))
ROOMS_AFTER = Statement(
    _room.where(rooms.c.num > bindparam("after", type_=INTEGER))
    .order_by(rooms.c.num)
    .limit(bindparam("limit", type_=INTEGER))
)
SAVE_ROOM = Statement(
    update(rooms)
    .where(
        rooms.c.id == bindparam("id"), rooms.c.name == bindparam("was_name"), rooms.c.status == bindparam("was_status")
    )
    .values(bind_columns(rooms, ROOM_CHANGES))
)
REMOVE_ROOM = Statement(delete(rooms).where(rooms.c.id == bindparam("id"), rooms.c.status == CLOSED))
REMOVE_ROLES = Statement(delete(roles).where(roles.c.room == bindparam("room")))
ROLE = Statement(_role.where(*_by_name, _not_removed), cached=True)
ROLE_OR_REMOVED = Statement(_role.where(*_by_name), cached=True)
ROLES_OF_ROOM = Statement(
    _role.where(roles.c.room == bindparam("room"), _not_removed).order_by(roles.c.position), cached=True
)
ROLES_ON_MACHINE = Statement(
    _role.where(roles.c.machine == bindparam("machine"), _not_removed).order_by(roles.c.room, roles.c.position)
)
ALL_ROLES = Statement(_role.where(_not_removed).order_by(roles.c.room, roles.c.position))
SAVE_ROLE = Statement(
    update(roles)
    .where(
        roles.c.room == bindparam("room"),
        roles.c.name == bindparam("name"),
        roles.c.generation == bindparam("was_generation", type_=INTEGER),
        roles.c.epoch == bindparam("was_epoch", type_=INTEGER),
    )
    .values(bind_columns(roles, ROLE_CHANGES))
)

_read_role = row_decoder(Role, ROLE_FIELDS)


def _encode(room: Room, names: tuple[str, ...]) -> dict[str, Any]:
    return encode_fields(room, names) | {"roles": msgspec.json.encode(room.roles).decode()}


@lru_cache(maxsize=1024)
def _read_room(row: Row) -> Room:
    values: dict[str, Any] = dict(zip(ROOM_FIELDS, row, strict=True))
    values["roles"] = tuple(msgspec.json.decode(values["roles"]))
    return Room(**values)


def add(tx: Transaction, room: Room, room_roles: tuple[Role, ...]) -> None:
    """Add a new room and its roles, in order."""
    tx.execute_deferred(ADD_ROOM, **_encode(room, ROOM_FIELDS))
    for role in room_roles:
        add_role(tx, role)


def add_role(tx: Transaction, role: Role) -> None:
    """Add a role that its room never had before."""
    tx.execute_deferred(ADD_ROLE, **encode_fields(role, ROLE_FIELDS))


def get(reader: Reader, name_or_id: str) -> Room | None:
    """Find a room by its id or, failing that, its name."""
    row = reader.row(ROOM_BY_ID, id=name_or_id) or reader.row(ROOM_BY_NAME, name=name_or_id)
    return _read_room(row) if row else None


def page(reader: Reader, after: str | None, limit: int) -> list[Room]:
    """Up to `limit` rooms after the room `after` (id or name), in the order they were created."""
    num = resolve_cursor(reader, ROOM_NUM, after, key=after)
    return [_read_room(row) for row in reader.rows(ROOMS_AFTER, after=num, limit=limit)]


def save(tx: Transaction, before: Room, after: Room) -> None:
    """Write a changed room. Fails with RowsDiffer if its name or status is not as in `before`."""
    tx.execute_deferred(
        SAVE_ROOM, id=before.id, was_name=before.name, was_status=before.status, **_encode(after, ROOM_CHANGES)
    )


def remove(tx: Transaction, room: str) -> None:
    """Delete a closed room and its roles. Retention deletes its tasks, messages and events."""
    tx.execute(REMOVE_ROLES, room=room)
    assert tx.execute(REMOVE_ROOM, id=room) == 1, f"room {room} is not closed"


def get_role(reader: Reader, room: str, name: str) -> Role | None:
    """Find a role by its room's id and its name."""
    row = reader.row(ROLE, room=room, name=name)
    return _read_role(row) if row else None


def get_role_or_removed(reader: Reader, room: str, name: str) -> Role | None:
    """Find a role as `role` does, including one that was removed from its room."""
    row = reader.row(ROLE_OR_REMOVED, room=room, name=name)
    return _read_role(row) if row else None


def list_roles(reader: Reader, room: str) -> list[Role]:
    """The roles of a room, in order."""
    return [_read_role(row) for row in reader.rows(ROLES_OF_ROOM, room=room)]


def list_roles_on_machine(reader: Reader, machine: str) -> list[Role]:
    """The roles that are assigned to a machine."""
    return [_read_role(row) for row in reader.rows(ROLES_ON_MACHINE, machine=machine)]


def list_all_roles(reader: Reader) -> list[Role]:
    """All roles, room by room."""
    return [_read_role(row) for row in reader.rows(ALL_ROLES)]


def save_role(tx: Transaction, before: Role, after: Role) -> None:
    """Write a changed role. Fails with RowsDiffer if its generation or epoch is not as in `before`."""
    tx.execute_deferred(
        SAVE_ROLE,
        room=before.room,
        name=before.name,
        was_generation=before.generation,
        was_epoch=before.epoch,
        **encode_fields(after, ROLE_CHANGES),
    )
