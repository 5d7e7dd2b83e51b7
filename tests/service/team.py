"""A room in which somebody sits in every seat, and what is done there again and again. Must not judge any of it."""

from greenroom.domain.caller import MACHINE, THE_OPERATOR, Caller
from greenroom.domain.reliability import Reliability
from greenroom.service import messages
from greenroom.wire.replies import ClaimedTask
from tests.service.house import House

DAEMON = Caller(scope=MACHINE, machine="m1")


def standing(limits: Reliability | None = None) -> House:
    """A builder A and a reviewer R, who wait."""
    house = House(limits)
    house.room()
    house.join("builder", "A")
    house.join("reviewer", "R")
    return house


def seat_for_daemon(house: House) -> None:
    """Machine m1 holds a builder a and a reviewer b, who wait; the operator calls from here on."""
    house.room()
    house.register()
    house.wish("builder")
    house.wish("reviewer")
    house.caller = DAEMON
    house.beat_machine()
    house.join("builder", "a")
    house.join("reviewer", "b")
    house.beat_machine(("builder", "a"), ("reviewer", "b"))
    house.caller = THE_OPERATOR


def at_work_for_daemon() -> tuple[House, ClaimedTask]:
    """A builder that a daemon beats for, with its task in hand; the operator calls from here on."""
    house = House()
    house.room()
    house.register()
    house.wish("builder")
    house.caller = DAEMON
    house.beat_machine()
    task = house.working_as(DAEMON, "builder", "a")
    house.beat_machine(("builder", "a"))
    house.caller = THE_OPERATOR
    return house, task


def opened(house: House) -> str:
    """A task for the entry role."""
    task = house.send().task
    assert task is not None
    return task.id


def claimed(house: House, connection: str = "A", role: str = "builder") -> ClaimedTask:
    """The task that a claim gave out."""
    task = house.claim(role, connection)
    assert task is not None
    return task


def statuses(house: House) -> dict[str, str]:
    """What is shown of each role."""
    return {role.name: role.status for role in house.look().roles}


def said(house: House) -> list[tuple[str, str]]:
    """To whom what was said in the room."""
    told = house.store.read(lambda reader: messages.list_all(house.world, reader, house.caller, "r", None, 100))
    return [(each.to, each.text) for each in told]
