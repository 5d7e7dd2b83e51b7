"""Starting points that many tests share: a room with participants in its roles, a claimed task."""

from greenroom.domain.limits import Limits
from greenroom.domain.principal import MACHINE, OPERATOR_PRINCIPAL, Principal
from greenroom.service import messages
from greenroom.wire.replies import ClaimedTask
from tests.service.in_process_service import InProcessService

DAEMON = Principal(scope=MACHINE, machine="m1")


def make_service_with_agents(limits: Limits | None = None) -> InProcessService:
    """A room where A is present as builder and R as reviewer, both without a task."""
    service = InProcessService(limits)
    service.create_room()
    service.join("builder", "A")
    service.join("reviewer", "R")
    return service


def join_daemon_agents(service: InProcessService) -> None:
    """Let machine m1 run a as builder and b as reviewer, both without a task. Later calls are the operator's."""
    service.create_room()
    service.register_machine()
    service.set_agent_spec("builder")
    service.set_agent_spec("reviewer")
    service.principal = DAEMON
    service.beat_machine()
    service.join("builder", "a")
    service.join("reviewer", "b")
    service.beat_machine(("builder", "a"), ("reviewer", "b"))
    service.principal = OPERATOR_PRINCIPAL


def make_service_with_daemon_task() -> tuple[InProcessService, ClaimedTask]:
    """A builder of machine m1 that holds a task. Later calls are the operator's."""
    service = InProcessService()
    service.create_room()
    service.register_machine()
    service.set_agent_spec("builder")
    service.principal = DAEMON
    service.beat_machine()
    task = service.join_and_claim_as(DAEMON, "builder", "a")
    service.beat_machine(("builder", "a"))
    service.principal = OPERATOR_PRINCIPAL
    return service, task


def open_task(service: InProcessService) -> str:
    """Send a message that opens a task for the entry role, and return the task's id."""
    task = service.send_message().task
    assert task is not None
    return task.id


def claim_task(service: InProcessService, connection: str = "A", role: str = "builder") -> ClaimedTask:
    """Claim a task, and require that there is one."""
    task = service.claim(role, connection)
    assert task is not None
    return task


def role_statuses(service: InProcessService) -> dict[str, str]:
    """The status of each role."""
    return {role.name: role.status for role in service.show_room().roles}


def list_messages(service: InProcessService) -> list[tuple[str, str]]:
    """The recipient and the text of each message in the room."""
    room_messages = service.store.read(
        lambda reader: messages.list_all(service.context, reader, service.principal, "r", None, 100)
    )
    return [(each.to, each.text) for each in room_messages]
