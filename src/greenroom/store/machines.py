"""Stores machines, the incarnations of their daemons, and the ids of the reports that were recorded."""

from typing import Any

import msgspec
from sqlalchemy import Column, Index, Named, Table, TypedColumns, bindparam, delete, insert, select, update

from greenroom.domain.machine import Machine
from greenroom.store.compiled_sql import Statement, upsert
from greenroom.store.rows import bind_columns, encode_fields, resolve_cursor
from greenroom.store.schema import INTEGER, STRICT, TEXT, metadata
from greenroom.store.transaction import Reader, Row, Transaction


class MachineColumns(TypedColumns):
    """`num` is the order in which machines were registered."""

    num: Named[int] = Column(INTEGER, primary_key=True)
    id: Named[str] = Column(TEXT, unique=True)
    name: Named[str] = Column(TEXT)
    daemon_connected: Named[int] = Column(INTEGER)
    harnesses: Named[str] = Column(TEXT)
    labels: Named[str] = Column(TEXT)
    assignments_version: Named[int] = Column(INTEGER)
    incarnation: Named[str | None] = Column(TEXT, nullable=True)
    incarnation_epoch: Named[int] = Column(INTEGER)
    last_seen_at: Named[str | None] = Column(TEXT, nullable=True)
    created_at: Named[str] = Column(TEXT)


class IncarnationColumns(TypedColumns):
    """The starts of a machine's daemon; `epoch` is the order of their first heartbeats."""

    machine: Named[str] = Column(TEXT, primary_key=True)
    incarnation: Named[str] = Column(TEXT, primary_key=True)
    epoch: Named[int] = Column(INTEGER)
    at: Named[str] = Column(TEXT)


class ReportColumns(TypedColumns):
    """The ids of recorded reports, so that a report which is sent again is not recorded twice."""

    machine: Named[str] = Column(TEXT, primary_key=True)
    id: Named[str] = Column(TEXT, primary_key=True)
    at: Named[str] = Column(TEXT)


machines = Table("machines", metadata, MachineColumns, **STRICT)
incarnations = Table("incarnations", metadata, IncarnationColumns, Index(None, "at"), **STRICT)
reports = Table("reports", metadata, ReportColumns, Index(None, "at"), **STRICT)

FIELDS = Machine.__struct_fields__
CHANGES = tuple(name for name in FIELDS if name not in ("id", "created_at"))
_machine = select(*(machines.c[name] for name in FIELDS))
_json_columns = ("harnesses", "labels")

ADD = Statement(insert(machines).values(bind_columns(machines, FIELDS)))
GET = Statement(_machine.where(machines.c.id == bindparam("id")), cached=True)
BY_NAME = Statement(_machine.where(machines.c.name == bindparam("name")).order_by(machines.c.num))
NUM = Statement(select(machines.c.num).where(machines.c.id == bindparam("id")))
PAGE = Statement(
    _machine.where(machines.c.num > bindparam("after", type_=INTEGER))
    .order_by(machines.c.num)
    .limit(bindparam("limit", type_=INTEGER))
)
ALL = Statement(_machine.order_by(machines.c.num))
SAVE = Statement(
    update(machines)
    .where(
        machines.c.id == bindparam("id"),
        machines.c.incarnation_epoch == bindparam("was_epoch", type_=INTEGER),
        machines.c.daemon_connected == bindparam("was_connected", type_=INTEGER),
    )
    .values(bind_columns(machines, CHANGES))
)
DELETE = Statement(delete(machines).where(machines.c.id == bindparam("id")))
DELETE_INCARNATIONS = Statement(delete(incarnations).where(incarnations.c.machine == bindparam("id")))
ADD_INCARNATION = Statement(
    insert(incarnations).values(bind_columns(incarnations, ("machine", "incarnation", "epoch", "at")))
)
INCARNATION = Statement(
    select(incarnations.c.epoch).where(
        incarnations.c.machine == bindparam("machine"), incarnations.c.incarnation == bindparam("incarnation")
    )
)
ADD_REPORT = Statement(
    upsert(reports)
    .values(bind_columns(reports, ("machine", "id", "at")))
    .on_conflict_do_nothing(index_elements=[reports.c.machine, reports.c.id])
)


def _read(row: Row) -> Machine:
    values: dict[str, Any] = dict(zip(FIELDS, row, strict=True))
    values["daemon_connected"] = bool(values["daemon_connected"])
    values["harnesses"] = tuple(msgspec.json.decode(values["harnesses"]))
    values["labels"] = msgspec.json.decode(values["labels"])
    return Machine(**values)


def _encode(machine: Machine, names: tuple[str, ...]) -> dict[str, Any]:
    values = encode_fields(machine, names)
    values["daemon_connected"] = int(machine.daemon_connected)
    for name in _json_columns:
        values[name] = msgspec.json.encode(values[name]).decode()
    return values


def add(tx: Transaction, machine: Machine) -> None:
    """Add a new machine."""
    tx.execute_deferred(ADD, **_encode(machine, FIELDS))


def get(reader: Reader, machine: str) -> Machine | None:
    """Find a machine by its id."""
    row = reader.row(GET, id=machine)
    return _read(row) if row else None


def list_by_name(reader: Reader, name: str) -> list[Machine]:
    """The machines of a name; names are for display and need not be unique."""
    return [_read(row) for row in reader.rows(BY_NAME, name=name)]


def page(reader: Reader, after: str | None, limit: int) -> list[Machine]:
    """Up to `limit` machines after the machine `after`, in the order they were registered."""
    num = resolve_cursor(reader, NUM, after, id=after)
    return [_read(row) for row in reader.rows(PAGE, after=num, limit=limit)]


def list_all(reader: Reader) -> list[Machine]:
    """All machines, in the order they were registered."""
    return [_read(row) for row in reader.rows(ALL)]


def save(tx: Transaction, before: Machine, after: Machine) -> None:
    """Write a changed machine. Fails with RowsDiffer if its incarnation or connection is not as in `before`."""
    tx.execute_deferred(
        SAVE,
        id=before.id,
        was_epoch=before.incarnation_epoch,
        was_connected=int(before.daemon_connected),
        **_encode(after, CHANGES),
    )


def remove(tx: Transaction, machine: str) -> None:
    """Delete a machine and its incarnations. Retention deletes the ids of its reports, which may be many."""
    for statement in (DELETE_INCARNATIONS, DELETE):
        tx.execute(statement, id=machine)


def get_incarnation_epoch(reader: Reader, machine: str, incarnation: str) -> int | None:
    """The epoch of an incarnation; None if it is unknown."""
    row = reader.row(INCARNATION, machine=machine, incarnation=incarnation)
    return row[0] if row else None


def add_incarnation(tx: Transaction, machine: str, incarnation: str, epoch: int) -> None:
    """Record a start of a daemon."""
    tx.execute_deferred(ADD_INCARNATION, machine=machine, incarnation=incarnation, epoch=epoch, at=tx.now.instant)


def record_report(tx: Transaction, machine: str, report: str) -> bool:
    """Record the id of a report; False when it was recorded before."""
    return tx.execute(ADD_REPORT, machine=machine, id=report, at=tx.now.instant) == 1
