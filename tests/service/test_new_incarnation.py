"""The first beat of a new incarnation corrects what the server has recorded about a machine."""

from greenroom.domain.principal import OPERATOR_PRINCIPAL
from greenroom.wire.requests import AgentReport
from tests.service.in_process_service import InProcessService
from tests.service.scenarios import DAEMON, claim_task, join_daemon_agents


class CrashedDaemonService(InProcessService):
    """Machine m1 with agents a and b, a with a task; its daemon, incarnation i1, has just been killed."""

    def __init__(self) -> None:
        super().__init__()
        join_daemon_agents(self)
        self.send_message()
        self.held_task = claim_task(self, "a").id
        self.principal = DAEMON

    def present_connections(self) -> list[str]:
        return [each.connection_id for each in self.show_room().participants]

    def task_outcome(self) -> tuple[str, str | None, int]:
        task = self.show_task(self.held_task)
        return task.status, task.released_cause, task.failures

    def pass_until_expired(self) -> None:
        """Let time pass until machine and agents have expired."""
        self.pass_time(self.limits.daemon_heartbeat_ttl_s + 2)
        assert self.present_connections() == []

    def report_exit(self, intended: bool = False) -> None:
        exit_report = AgentReport(
            id="exit:a",
            kind="exited",
            room="r",
            role="builder",
            connection_id="a",
            task=self.held_task,
            attempt=1,
            code=1,
            intended=intended,
        )
        self.send_reports(exit_report, incarnation="i2")


def test_adopted_agent_keeps_task() -> None:
    service = CrashedDaemonService()
    reply = service.beat_machine(("builder", "a"), incarnation="i2")
    assert [(agent.status, agent.task.id if agent.task else None) for agent in reply.agents] == [
        ("ok", service.held_task)
    ]
    assert (service.present_connections(), service.task_outcome()) == (["a"], ("acknowledged", None, 0))
    assert service.complete(service.held_task, "a", 1).status == "completed"


def test_adopted_agent_returns_after_expiry() -> None:
    service = CrashedDaemonService()
    service.pass_until_expired()
    service.beat_machine(("builder", "a"), incarnation="i2")
    assert (service.present_connections(), service.task_outcome()) == (["a"], ("acknowledged", None, 0))


def test_adopted_agent_resumes_released_task() -> None:
    service = CrashedDaemonService()
    service.pass_until_expired()
    service.pass_time(service.limits.task_lost_after_s + 2)
    assert service.task_outcome() == ("pending", "lost", 0)
    reply = service.beat_machine(("builder", "a"), incarnation="i2")
    assert [agent.task.id if agent.task else None for agent in reply.agents] == [service.held_task]
    assert service.task_outcome() == ("acknowledged", None, 0)


def test_unnamed_agent_ends_and_releases_task() -> None:
    service = CrashedDaemonService()
    service.beat_machine(("reviewer", "b"), incarnation="i2")
    assert (service.present_connections(), service.task_outcome()) == (["b"], ("pending", "exited", 1))


def test_unnamed_expired_agent_releases_task() -> None:
    """Its task must not wait for a holder that cannot return."""
    service = CrashedDaemonService()
    service.pass_until_expired()
    assert service.task_outcome()[0] == "acknowledged"
    service.beat_machine(incarnation="i2")
    assert service.task_outcome() == ("pending", "exited", 1)
    assert service.beat_machine(("builder", "a"), incarnation="i2").agents[0].status == "superseded"


def test_report_before_first_beat_counts() -> None:
    service = CrashedDaemonService()
    service.report_exit(intended=True)
    assert service.task_outcome() == ("pending", "stopped", 0)
    service.beat_machine(incarnation="i2")
    assert (service.present_connections(), service.task_outcome()) == ([], ("pending", "stopped", 0))


def test_reported_exit_counts_once() -> None:
    service = CrashedDaemonService()
    service.report_exit()
    service.beat_machine(incarnation="i2")
    service.report_exit()
    assert service.task_outcome() == ("pending", "exited", 1)


def test_beat_after_role_removal() -> None:
    service = CrashedDaemonService()
    service.principal = OPERATOR_PRINCIPAL
    service.cancel(service.held_task)
    service.pass_until_expired()
    service.change_room(roles=["reviewer"], entry_role="reviewer")
    service.principal = DAEMON
    assert service.beat_machine(("reviewer", "b"), incarnation="i2").agents[0].status == "ok"
