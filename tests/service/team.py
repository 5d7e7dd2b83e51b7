"""Starting points that many tests share: a room with participants in its roles, a claimed task."""

from greenroom.domain.caller import MACHINE, THE_OPERATOR, Caller
from greenroom.domain.reliability import Reliability
from greenroom.service import messages
from greenroom.wire.replies import ClaimedTask
from tests.service.house import House

DAEMON = Caller(scope=MACHINE, machine="m1")


def standing(limits: Reliability | None = None) -> House:
    """A room where A is present as builder and R as reviewer, both without a task."""
    house = House(limits)
    house.room()
    house.join("builder", "A")
    house.join("reviewer", "R")
    return house


def seat_for_daemon(house: House) -> None:
    """Let machine m1 run a as builder and b as reviewer, both without a task. Later calls are the operator's."""
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
    """A builder of machine m1 that holds a task. Later calls are the operator's."""
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
    """Send a message that opens a task for the entry role, and return the task's id."""
    task = house.send().task
    assert task is not None
    return task.id


def claimed(house: House, connection: str = "A", role: str = "builder") -> ClaimedTask:
    """Claim a task, and require that there is one."""
    task = house.claim(role, connection)
    assert task is not None
    return task


def statuses(house: House) -> dict[str, str]:
    """The status of each role."""
    return {role.name: role.status for role in house.look().roles}


def said(house: House) -> list[tuple[str, str]]:
    """The recipient and the text of each message in the room."""
    told = house.store.read(lambda reader: messages.list_all(house.world, reader, house.caller, "r", None, 100))
    return [(each.to, each.text) for each in told]
