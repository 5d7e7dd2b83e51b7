"""A role runs on one machine. Assigned to another, it is taken over there at once, and its task follows."""

import pytest

from greenroom.domain.errors import Conflict, Refused, Superseded
from greenroom.domain.principal import MACHINE, OPERATOR_PRINCIPAL, Principal
from greenroom.service.state.notifications import assignments_key
from greenroom.wire.replies import ClaimedTask
from greenroom.wire.requests import AgentReport
from tests.service.in_process_service import InProcessService


class TwoMachineService(InProcessService):
    """Two machines with a daemon each. The builder is assigned to m1, and a1 is present there and holds a task."""

    def __init__(self) -> None:
        super().__init__()
        self.create_room(max_requests=5)
        for machine in ("m1", "m2"):
            self.register_machine(machine)
            self.send_beat(machine)
        self.set_agent_spec("builder", machine="m1")
        self.join_if_vacant("m1", "a1")
        self.send_message()
        self.held_task = self.claim_on("m1", "a1")

    def send_beat(self, machine: str, *connections: str) -> list[str]:
        """Send one beat of a machine that names those connections, and return their verdicts."""
        self.principal = Principal(scope=MACHINE, machine=machine)
        held = [("builder", connection) for connection in connections]
        reply = self.beat_machine(*held, machine=machine, incarnation=f"{machine}.1")
        self.principal = OPERATOR_PRINCIPAL
        return [agent.status for agent in reply.agents]

    def join_if_vacant(self, machine: str, connection: str) -> str:
        """Let a machine's daemon join the builder, only if the role is vacant, as daemons do."""
        self.principal = Principal(scope=MACHINE, machine=machine)
        try:
            return self.join("builder", connection, if_vacant=True).status
        finally:
            self.principal = OPERATOR_PRINCIPAL

    def claim_on(self, machine: str, connection: str) -> ClaimedTask | None:
        self.principal = Principal(scope=MACHINE, machine=machine)
        try:
            return self.claim("builder", connection)
        finally:
            self.principal = OPERATOR_PRINCIPAL

    def report_stopped(self, machine: str, connection: str) -> None:
        """Let a machine's daemon report that it stopped the run."""
        task = self.held_task
        assert task is not None
        exit_report = AgentReport(
            id=f"exit.{connection}",
            kind="exited",
            room="r",
            role="builder",
            connection_id=connection,
            task=task.id,
            attempt=1,
            signal=15,
            intended=True,
        )
        self.principal = Principal(scope=MACHINE, machine=machine)
        self.send_reports(exit_report, machine=machine, incarnation=f"{machine}.1")
        self.principal = OPERATOR_PRINCIPAL

    def list_running_machines(self) -> list[str]:
        """The machines whose beat is answered `ok` for the builder they once held."""
        return [machine for machine, held in (("m1", "a1"), ("m2", "b1")) if self.send_beat(machine, held) == ["ok"]]

    def builder_status(self) -> tuple[str, str | None]:
        view = self.show_room().roles[0]
        return view.status, view.status_reason


@pytest.fixture
def service() -> TwoMachineService:
    return TwoMachineService()


def test_new_machine_joins_at_once_claims_after_stop(service: TwoMachineService) -> None:
    woken: list[str] = []
    service.set_agent_spec("builder", machine="m2")
    assert service.list_running_machines() == ["m1"]
    service.context.notifications.watch(assignments_key("m1"), lambda: woken.append("m1"))
    assert service.join_if_vacant("m2", "b1") == "ok"
    assert woken == ["m1"]
    assert service.list_running_machines() == ["m2"]
    assert service.claim_on("m2", "b1") is None
    service.report_stopped("m1", "a1")
    claimed = service.claim_on("m2", "b1")
    assert claimed is not None
    assert service.held_task is not None
    assert (claimed.id, claimed.attempt, claimed.failures) == (service.held_task.id, 2, 0)


def test_result_of_old_machine_is_kept(service: TwoMachineService) -> None:
    service.set_agent_spec("builder", machine="m2")
    service.join_if_vacant("m2", "b1")
    assert service.held_task is not None
    service.principal = Principal(scope=MACHINE, machine="m1")
    with pytest.raises(Superseded):
        service.complete(service.held_task.id, "a1", 1, "nearly done")
    service.principal = OPERATOR_PRINCIPAL
    assert [late.text for late in service.show_task(service.held_task.id).late_results] == ["nearly done"]


def test_status_while_moving(service: TwoMachineService) -> None:
    service.set_agent_spec("builder", machine="m2")
    assert service.builder_status() == ("stopping", "the role was moved from machine m1 to machine m2")
    service.join_if_vacant("m2", "b1")
    assert service.builder_status()[0] == "waiting"


def test_unreachable_old_machine_is_fenced(service: TwoMachineService) -> None:
    service.set_agent_spec("builder", machine="m2")
    assert service.join_if_vacant("m2", "b1") == "ok"
    service.pass_time(service.limits.takeover_grace_s + 1)
    assert service.claim_on("m2", "b1") is not None
    while service.show_machine("m1").daemon_connected:
        service.pass_time(20)
        service.send_beat("m2", "b1")
    assert service.list_running_machines() == ["m2"]


def test_silent_old_machine_is_superseded(service: TwoMachineService) -> None:
    while service.show_machine("m1").daemon_connected:
        service.pass_time(20)
        service.send_beat("m2")
    service.set_agent_spec("builder", machine="m2")
    assert service.send_beat("m1", "a1") == ["superseded"]
    assert service.join_if_vacant("m2", "b1") == "ok"
    assert service.list_running_machines() == ["m2"]


def test_move_undone_before_join(service: TwoMachineService) -> None:
    service.set_agent_spec("builder", machine="m2")
    service.set_agent_spec("builder", machine="m1")
    with pytest.raises(Refused):
        service.join_if_vacant("m2", "b1")
    assert service.list_running_machines() == ["m1"]
    with pytest.raises(Conflict, match="taken by a1"):
        service.join_if_vacant("m1", "a2")


def test_task_waits_for_first_run_across_moves(service: TwoMachineService) -> None:
    service.set_agent_spec("builder", machine="m2")
    service.join_if_vacant("m2", "b1")
    service.set_agent_spec("builder", machine="m1")
    assert service.join_if_vacant("m1", "a2") == "ok"
    assert (service.send_beat("m1", "a1", "a2"), service.send_beat("m2", "b1")) == (
        ["superseded", "ok"],
        ["superseded"],
    )
    service.set_agent_spec("builder", machine="m2")
    assert service.join_if_vacant("m2", "b2") == "ok"
    assert (service.send_beat("m1", "a1", "a2"), service.send_beat("m2", "b2")) == (
        ["superseded", "superseded"],
        ["ok"],
    )
    assert service.claim_on("m2", "b2") is None
    service.report_stopped("m1", "a1")
    claimed = service.claim_on("m2", "b2")
    assert claimed is not None
    assert (claimed.attempt, claimed.failures) == (2, 0)


def test_move_of_stopped_role(service: TwoMachineService) -> None:
    service.set_agent_spec("builder", machine="m1", desired="stopped")
    service.set_agent_spec("builder", machine="m2", desired="stopped")
    assert (
        [assignment.desired for assignment in service.list_assignments("m2").assignments],
        service.list_assignments("m1").assignments,
    ) == (
        ["stopped"],
        (),
    )
    assert service.builder_status()[0] == "stopping"
    service.principal = Principal(scope=MACHINE, machine="m1")
    assert service.leave("builder", "a1", cause="stopped") == "ok"
    service.principal = OPERATOR_PRINCIPAL
    assert service.builder_status()[0] == "stopped"


def test_machine_does_not_displace_user(service: TwoMachineService) -> None:
    service.set_agent_spec("builder", machine=None)
    assert service.builder_status() == ("stopping", "the role was moved from machine m1 to an agent that a user runs")
    assert service.join("builder", "user_agent").status == "ok"
    service.set_agent_spec("builder", machine="m2")
    with pytest.raises(Conflict, match="taken by user_agent"):
        service.join_if_vacant("m2", "b1")
    service.leave("builder", "user_agent")
    assert service.join_if_vacant("m2", "b1") == "ok"


def test_only_assigned_machine_takes_over(service: TwoMachineService) -> None:
    service.set_agent_spec("builder", machine="m2")
    with pytest.raises(Conflict, match="taken by a1 on machine m1"):
        service.join("builder", "user_agent", if_vacant=True)
