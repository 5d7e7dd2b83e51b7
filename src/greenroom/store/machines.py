"""Machines, the incarnations of their daemons and the facts they reported, remembered. Must not know who may be one."""

from typing import Any

import msgspec
from sqlalchemy import Column, Index, Named, Table, TypedColumns, bindparam, delete, insert, select, update

from greenroom.domain.machine import Machine
from greenroom.store import paging
from greenroom.store.records import binds, fields_of
from greenroom.store.schema import INTEGER, STRICT, TEXT, metadata
from greenroom.store.statement import Statement, upsert
from greenroom.store.transaction import Reader, Row, Transaction


class MachineColumns(TypedColumns):
    """`num` is the order in which machines were registered."""

    num: Named[int] = Column(INTEGER, primary_key=True)
    id: Named[str] = Column(TEXT, unique=True)
    name: Named[str] = Column(TEXT)
    daemon_connected: Named[int] = Column(INTEGER)
    harnesses: Named[str] = Column(TEXT)
    labels: Named[str] = Column(TEXT)
    wishes_version: Named[int] = Column(INTEGER)
    incarnation: Named[str | None] = Column(TEXT, nullable=True)
    incarnation_epoch: Named[int] = Column(INTEGER)
    last_seen_at: Named[str | None] = Column(TEXT, nullable=True)
    created_at: Named[str] = Column(TEXT)


class IncarnationColumns(TypedColumns):
    """Each start of a machine's daemon, in the order in which they were first heard."""

    machine: Named[str] = Column(TEXT, primary_key=True)
    incarnation: Named[str] = Column(TEXT, primary_key=True)
    epoch: Named[int] = Column(INTEGER)
    at: Named[str] = Column(TEXT)


class FactColumns(TypedColumns):
    """Which facts were taken already, so that none is taken twice."""

    machine: Named[str] = Column(TEXT, primary_key=True)
    id: Named[str] = Column(TEXT, primary_key=True)
    at: Named[str] = Column(TEXT)


machines = Table("machines", metadata, MachineColumns, **STRICT)
incarnations = Table("incarnations", metadata, IncarnationColumns, Index(None, "at"), **STRICT)
facts = Table("facts", metadata, FactColumns, Index(None, "at"), **STRICT)

FIELDS = Machine.__struct_fields__
CHANGES = tuple(name for name in FIELDS if name not in ("id", "created_at"))
_machine = select(*(machines.c[name] for name in FIELDS))
_spelled_as_json = ("harnesses", "labels")

ADD = Statement(insert(machines).values(binds(machines, FIELDS)))
GET = Statement(_machine.where(machines.c.id == bindparam("id")), kept=True)
NAMED = Statement(_machine.where(machines.c.name == bindparam("name")).order_by(machines.c.num))
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
    .values(binds(machines, CHANGES))
)
DELETE = Statement(delete(machines).where(machines.c.id == bindparam("id")))
DELETE_INCARNATIONS = Statement(delete(incarnations).where(incarnations.c.machine == bindparam("id")))
ADD_INCARNATION = Statement(insert(incarnations).values(binds(incarnations, ("machine", "incarnation", "epoch", "at"))))
INCARNATION = Statement(
    select(incarnations.c.epoch).where(
        incarnations.c.machine == bindparam("machine"), incarnations.c.incarnation == bindparam("incarnation")
    )
)
ADD_FACT = Statement(
    upsert(facts)
    .values(binds(facts, ("machine", "id", "at")))
    .on_conflict_do_nothing(index_elements=[facts.c.machine, facts.c.id])
)


def _read(row: Row) -> Machine:
    values: dict[str, Any] = dict(zip(FIELDS, row, strict=True))
    values["daemon_connected"] = bool(values["daemon_connected"])
    values["harnesses"] = tuple(msgspec.json.decode(values["harnesses"]))
    values["labels"] = msgspec.json.decode(values["labels"])
    return Machine(**values)


def _written(machine: Machine, names: tuple[str, ...]) -> dict[str, Any]:
    values = fields_of(machine, names)
    values["daemon_connected"] = int(machine.daemon_connected)
    for name in _spelled_as_json:
        values[name] = msgspec.json.encode(values[name]).decode()
    return values


def add(tx: Transaction, machine: Machine) -> None:
    """Remember a new machine."""
    tx.put(ADD, **_written(machine, FIELDS))


def get(reader: Reader, machine: str) -> Machine | None:
    """Find a machine by its id."""
    row = reader.row(GET, id=machine)
    return _read(row) if row else None


def named(reader: Reader, name: str) -> list[Machine]:
    """The machines of a name; names are for people and need not be unique."""
    return [_read(row) for row in reader.rows(NAMED, name=name)]


def page(reader: Reader, after: str | None, limit: int) -> list[Machine]:
    """Up to `limit` machines in the order they were registered, those after the machine `after`."""
    num = paging.begin(reader, NUM, after, id=after)
    return [_read(row) for row in reader.rows(PAGE, after=num, limit=limit)]


def every(reader: Reader) -> list[Machine]:
    """Every machine there is."""
    return [_read(row) for row in reader.rows(ALL)]


def save(tx: Transaction, before: Machine, after: Machine) -> None:
    """Write a changed machine. It is an error if it is not as it was when it was read."""
    tx.put(
        SAVE,
        id=before.id,
        was_epoch=before.incarnation_epoch,
        was_connected=int(before.daemon_connected),
        **_written(after, CHANGES),
    )


def remove(tx: Transaction, machine: str) -> None:
    """Forget a machine and its incarnations. Which facts it reported is a matter of retention: they may be many."""
    for statement in (DELETE_INCARNATIONS, DELETE):
        tx.change(statement, id=machine)


def incarnation_epoch(reader: Reader, machine: str, incarnation: str) -> int | None:
    """The epoch of an incarnation, if it was heard before."""
    row = reader.row(INCARNATION, machine=machine, incarnation=incarnation)
    return row[0] if row else None


def add_incarnation(tx: Transaction, machine: str, incarnation: str, epoch: int) -> None:
    """Remember that a daemon was started."""
    tx.put(ADD_INCARNATION, machine=machine, incarnation=incarnation, epoch=epoch, at=tx.now.instant)


def take_fact(tx: Transaction, machine: str, fact: str) -> bool:
    """Take a fact for the first time; False when it was taken before."""
    return tx.change(ADD_FACT, machine=machine, id=fact, at=tx.now.instant) == 1
