"""Starting points that many tests share: a room with participants in its roles, a claimed task."""

from greenroom.domain.caller import MACHINE, THE_OPERATOR, Caller
from greenroom.domain.reliability import Reliability
from greenroom.service import messages
from greenroom.wire.replies import ClaimedTask
from tests.service.house import House

DAEMON = Caller(scope=MACHINE, machine="m1")


def make_service_with_agents(limits: Reliability | None = None) -> House:
    """A room where A is present as builder and R as reviewer, both without a task."""
    service = House(limits)
    service.room()
    service.join("builder", "A")
    service.join("reviewer", "R")
    return service


def join_daemon_agents(service: House) -> None:
    """Let machine m1 run a as builder and b as reviewer, both without a task. Later calls are the operator's."""
    service.room()
    service.register()
    service.wish("builder")
    service.wish("reviewer")
    service.caller = DAEMON
    service.beat_machine()
    service.join("builder", "a")
    service.join("reviewer", "b")
    service.beat_machine(("builder", "a"), ("reviewer", "b"))
    service.caller = THE_OPERATOR


def make_service_with_daemon_task() -> tuple[House, ClaimedTask]:
    """A builder of machine m1 that holds a task. Later calls are the operator's."""
    service = House()
    service.room()
    service.register()
    service.wish("builder")
    service.caller = DAEMON
    service.beat_machine()
    task = service.working_as(DAEMON, "builder", "a")
    service.beat_machine(("builder", "a"))
    service.caller = THE_OPERATOR
    return service, task


def open_task(service: House) -> str:
    """Send a message that opens a task for the entry role, and return the task's id."""
    task = service.send().task
    assert task is not None
    return task.id


def claim_task(service: House, connection: str = "A", role: str = "builder") -> ClaimedTask:
    """Claim a task, and require that there is one."""
    task = service.claim(role, connection)
    assert task is not None
    return task


def role_statuses(service: House) -> dict[str, str]:
    """The status of each role."""
    return {role.name: role.status for role in service.look().roles}


def list_messages(service: House) -> list[tuple[str, str]]:
    """The recipient and the text of each message in the room."""
    room_messages = service.store.read(
        lambda reader: messages.list_all(service.world, reader, service.caller, "r", None, 100)
    )
    return [(each.to, each.text) for each in room_messages]
