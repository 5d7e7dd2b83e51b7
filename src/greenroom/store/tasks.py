"""Stores tasks. An update names the state, attempt and holder that the task must still have."""

from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    Index,
    Named,
    Table,
    TypedColumns,
    bindparam,
    exists,
    func,
    insert,
    select,
    update,
)

from greenroom.domain.participant import PRESENT
from greenroom.domain.task import (
    ACKNOWLEDGED,
    HELD_STATES,
    OCCUPYING_STATES,
    OPEN_STATES,
    ORIGINS,
    PENDING,
    QUEUED,
    STATES,
    Task,
)
from greenroom.store.compiled_sql import Statement
from greenroom.store.participants import participants
from greenroom.store.rows import bind_columns, encode_fields, resolve_cursor, row_decoder
from greenroom.store.schema import INTEGER, STRICT, TEXT, metadata
from greenroom.store.transaction import Reader, Transaction


class TaskColumns(TypedColumns):
    """`num` is the order in which tasks were opened, which is the order in which they are claimed."""

    num: Named[int] = Column(INTEGER, primary_key=True)
    id: Named[str] = Column(TEXT, unique=True)
    room: Named[str] = Column(TEXT)
    request: Named[str] = Column(TEXT)
    target_role: Named[str] = Column(TEXT)
    status: Named[str] = Column(TEXT)
    attempt: Named[int] = Column(INTEGER)
    claimed_by: Named[str | None] = Column(TEXT, nullable=True)
    failures: Named[int] = Column(INTEGER)
    text: Named[str] = Column(TEXT)
    created_at: Named[str] = Column(TEXT)
    acknowledged_at: Named[str | None] = Column(TEXT, nullable=True)
    started_at: Named[str | None] = Column(TEXT, nullable=True)
    completed_at: Named[str | None] = Column(TEXT, nullable=True)
    released_cause: Named[str | None] = Column(TEXT, nullable=True)
    result: Named[str | None] = Column(TEXT, nullable=True)
    handoffs: Named[int] = Column(INTEGER)
    last_holder: Named[str | None] = Column(TEXT, nullable=True)
    reason: Named[str | None] = Column(TEXT, nullable=True)
    handed_to: Named[str | None] = Column(TEXT, nullable=True)
    next_task: Named[str | None] = Column(TEXT, nullable=True)
    promoted: Named[str | None] = Column(TEXT, nullable=True)
    origin: Named[str] = Column(TEXT)
    released_at: Named[str | None] = Column(TEXT, nullable=True)
    accepted_attempt: Named[int | None] = Column(INTEGER, nullable=True)


_states = ", ".join(f"'{state}'" for state in STATES)
_origins = ", ".join(f"'{origin}'" for origin in ORIGINS)
_held = ", ".join(f"'{state}'" for state in HELD_STATES)
tasks = Table(
    "tasks",
    metadata,
    TaskColumns,
    CheckConstraint(f"status IN ({_states})", name="status"),
    CheckConstraint(f"origin IN ({_origins})", name="origin"),
    CheckConstraint(f"status NOT IN ({_held}) OR claimed_by IS NOT NULL", name="held"),
    **STRICT,
)
Index("ix_tasks_status", tasks.c.status, tasks.c.room, tasks.c.num)
Index("ix_tasks_room", tasks.c.room, tasks.c.num)

FIELDS = tuple(name for name in Task.__struct_fields__ if name not in ("late_results", "notes"))
CHANGES = (
    "status",
    "attempt",
    "claimed_by",
    "failures",
    "acknowledged_at",
    "started_at",
    "completed_at",
    "released_cause",
    "result",
    "last_holder",
    "reason",
    "handed_to",
    "next_task",
    "promoted",
    "handoffs",
    "released_at",
    "accepted_attempt",
)
# For queries that select few tasks of a long history: an expression, so that no index scan of the history in order is
# chosen.
_by_age = tasks.c.num + 0
_task = select(*(tasks.c[name] for name in FIELDS))
_in_room = tasks.c.room == bindparam("room")
_limit = bindparam("limit", type_=INTEGER)

ADD = Statement(insert(tasks).values(bind_columns(tasks, FIELDS)))
GET = Statement(_task.where(tasks.c.id == bindparam("id")))
OLDEST_PENDING = Statement(
    _task.where(_in_room, tasks.c.target_role == bindparam("role"), tasks.c.status == PENDING)
    .order_by(tasks.c.num)
    .limit(1)
)
OLDEST_QUEUED = Statement(_task.where(_in_room, tasks.c.status == QUEUED).order_by(tasks.c.num).limit(1))
HELD_BY = Statement(
    _task.where(
        _in_room,
        tasks.c.target_role == bindparam("role"),
        tasks.c.status.in_(HELD_STATES),
        tasks.c.claimed_by == bindparam("connection_id"),
    )
    .order_by(_by_age)
    .limit(1)
)
LOST_BY = Statement(
    _task.where(
        _in_room,
        tasks.c.target_role == bindparam("role"),
        tasks.c.status == PENDING,
        tasks.c.released_cause == "lost",
        tasks.c.last_holder == bindparam("connection_id"),
    )
    .order_by(_by_age)
    .limit(1)
)
ALL_HELD = Statement(_task.where(tasks.c.status.in_(HELD_STATES)).order_by(_by_age))
ALL_PENDING = Statement(_task.where(tasks.c.status == PENDING).order_by(_by_age))
COUNT_OCCUPYING = Statement(
    select(func.count()).select_from(tasks).where(_in_room, tasks.c.status.in_(OCCUPYING_STATES))
)
OPEN_OF_REQUEST = Statement(
    _task.where(_in_room, tasks.c.status.in_(OPEN_STATES), tasks.c.request == bindparam("request"))
    .order_by(_by_age)
    .limit(1)
)
OPEN_IN_ROOM = Statement(_task.where(_in_room, tasks.c.status.in_(OPEN_STATES)).order_by(_by_age).limit(_limit))
HELD_IN_ROOM = Statement(_task.where(_in_room, tasks.c.status.in_(HELD_STATES)).order_by(_by_age))
OPEN_FOR_ROLE = Statement(
    _task.where(_in_room, tasks.c.status.in_(OPEN_STATES), tasks.c.target_role == bindparam("role"))
    .order_by(_by_age)
    .limit(1)
)
ROOMS_WITH_QUEUE = Statement(select(tasks.c.room).distinct().where(tasks.c.status == QUEUED))
NUM = Statement(select(tasks.c.num).where(tasks.c.id == bindparam("id"), _in_room))
PAGE = Statement(
    _task.where(_in_room, tasks.c.num > bindparam("after", type_=INTEGER)).order_by(tasks.c.num).limit(_limit)
)
PAGE_OF_STATUS = Statement(
    _task.where(_in_room, tasks.c.status == bindparam("status"), tasks.c.num > bindparam("after", type_=INTEGER))
    .order_by(tasks.c.num)
    .limit(_limit)
)
SAVE = Statement(
    update(tasks)
    .where(
        tasks.c.id == bindparam("id"),
        tasks.c.status == bindparam("was_status"),
        tasks.c.attempt == bindparam("was_attempt", type_=INTEGER),
        tasks.c.claimed_by.is_not_distinct_from(bindparam("was_claimed_by", type_=TEXT)),
    )
    .values(bind_columns(tasks, CHANGES))
)
CLAIM = Statement(
    update(tasks)
    .where(
        tasks.c.id == bindparam("id"),
        tasks.c.status == PENDING,
        exists().where(
            participants.c.room == tasks.c.room,
            participants.c.role == tasks.c.target_role,
            participants.c.connection_id == bindparam("connection_id"),
            participants.c.status == PRESENT,
        ),
    )
    .values(
        status=ACKNOWLEDGED,
        attempt=tasks.c.attempt + 1,
        claimed_by=bindparam("connection_id"),
        last_holder=bindparam("connection_id"),
        acknowledged_at=bindparam("at"),
        started_at=None,
        released_cause=None,
        released_at=None,
        reason=None,
    )
    .returning(*(tasks.c[name] for name in FIELDS))
)
_read = row_decoder(Task, FIELDS)


def add(tx: Transaction, task: Task) -> None:
    """Add a new task."""
    tx.execute_deferred(ADD, **encode_fields(task, FIELDS))


def get(reader: Reader, task: str) -> Task | None:
    """Find a task by its id."""
    return _first(reader, GET, id=task)


def get_oldest_pending(reader: Reader, room: str, role: str) -> Task | None:
    """The oldest pending task of a role, which its participant claims next."""
    return _first(reader, OLDEST_PENDING, room=room, role=role)


def get_oldest_queued(reader: Reader, room: str) -> Task | None:
    """The oldest queued task of a room, which is promoted next."""
    return _first(reader, OLDEST_QUEUED, room=room)


def get_held_by(reader: Reader, room: str, role: str, connection_id: str) -> Task | None:
    """The task that a participant holds."""
    return _first(reader, HELD_BY, room=room, role=role, connection_id=connection_id)


def get_lost_by(reader: Reader, room: str, role: str, connection_id: str) -> Task | None:
    """The task that was released because this participant sent no heartbeats, and that has not been claimed since."""
    return _first(reader, LOST_BY, room=room, role=role, connection_id=connection_id)


def list_all_held(reader: Reader) -> list[Task]:
    """All tasks that are held by a participant."""
    return [_read(row) for row in reader.rows(ALL_HELD)]


def list_all_pending(reader: Reader) -> list[Task]:
    """All pending tasks, oldest first."""
    return [_read(row) for row in reader.rows(ALL_PENDING)]


def count_occupying(reader: Reader, room: str) -> int:
    """How many tasks of a room are pending, acknowledged or in progress."""
    row = reader.row(COUNT_OCCUPYING, room=room)
    return int(row[0]) if row else 0


def list_open_in_room(reader: Reader, room: str, limit: int) -> list[Task]:
    """Up to `limit` open tasks of a room, oldest first."""
    return [_read(row) for row in reader.rows(OPEN_IN_ROOM, room=room, limit=limit)]


def list_held_in_room(reader: Reader, room: str) -> list[Task]:
    """All held tasks of a room: at most one for each role."""
    return [_read(row) for row in reader.rows(HELD_IN_ROOM, room=room)]


def get_open_of_request(reader: Reader, room: str, request: str) -> Task | None:
    """The open task of a request: in the chain of a request's tasks at most one is open."""
    return _first(reader, OPEN_OF_REQUEST, room=room, request=request)


def get_oldest_open_of_role(reader: Reader, room: str, role: str) -> Task | None:
    """The oldest open task of a role."""
    return _first(reader, OPEN_FOR_ROLE, room=room, role=role)


def list_rooms_with_queued_tasks(reader: Reader) -> list[str]:
    """The ids of rooms that have a queued task."""
    return [row[0] for row in reader.rows(ROOMS_WITH_QUEUE)]


def page(reader: Reader, room: str, status: str | None, after: str | None, limit: int) -> list[Task]:
    """Up to `limit` tasks of a room after the task `after`, oldest first; with `status` only those of that status."""
    num = resolve_cursor(reader, NUM, after, id=after, room=room)
    where: dict[str, Any] = {"room": room, "after": num, "limit": limit}
    rows = reader.rows(PAGE, **where) if status is None else reader.rows(PAGE_OF_STATUS, status=status, **where)
    return [_read(row) for row in rows]


def save(tx: Transaction, before: Task, after: Task) -> None:
    """Write a changed task. Fails with RowsDiffer if its state, attempt or holder is not as in `before`."""
    tx.execute_deferred(
        SAVE,
        id=before.id,
        was_status=before.status,
        was_attempt=before.attempt,
        was_claimed_by=before.claimed_by,
        **encode_fields(after, CHANGES),
    )


def claim(tx: Transaction, task: str, connection_id: str) -> Task | None:
    """Assign a pending task to a participant of its role; None if the participant is not present or it is not pending.

    Returns the claimed task, with its new attempt.
    """
    return _first(tx, CLAIM, id=task, connection_id=connection_id, at=tx.now.instant)


def _first(reader: Reader, statement: Statement, **params: object) -> Task | None:
    row = reader.row(statement, **params)
    return _read(row) if row else None
