"""What a machine may still do for its agents once their role was assigned elsewhere."""

import pytest

from greenroom.clock import format_instant
from greenroom.domain.errors import Refused, Superseded
from greenroom.domain.principal import MACHINE, OPERATOR_PRINCIPAL, Principal
from greenroom.wire.requests import AgentReport
from tests.service.in_process_service import InProcessService


@pytest.mark.parametrize("other_machine", [None, "m2"], ids=["user", "other_machine"])
def test_machine_can_leave_reassigned_role(other_machine: str | None) -> None:
    service = make_service_with_daemon_agent()
    service.register_machine("m2")
    service.set_agent_spec("builder", machine=other_machine)
    service.principal = Principal(scope=MACHINE, machine="m1")
    assert service.leave("builder", "c1", cause="stopped") == "ok"
    assert service.leave("builder", "c1", cause="stopped") == "ok"
    with pytest.raises(Refused):
        service.join("builder", "c2")


def test_machine_cannot_end_foreign_participant() -> None:
    service = make_service_with_daemon_agent()
    service.register_machine("m2")
    service.principal = Principal(scope=MACHINE, machine="m2")
    with pytest.raises(Refused):
        service.leave("builder", "c1")


def test_start_failure_shows_reason() -> None:
    service = make_service_with_daemon_agent()
    detail = "This machine's configuration defines no harness 'x'.\nand more"
    until = format_instant(service.clock.wall() + 60)
    service.send_reports(
        AgentReport(id="f1", kind="exited", room="r", role="builder", connection_id="c1", until=until, detail=detail)
    )
    builder = service.show_room().roles[0]
    assert (builder.status, builder.status_reason) == ("backing_off", detail.partition("\n")[0])


def make_service_with_daemon_agent() -> InProcessService:
    service = InProcessService()
    service.create_room()
    service.register_machine("m1")
    service.set_agent_spec("builder")
    operator, service.principal = service.principal, Principal(scope=MACHINE, machine="m1")
    service.beat_machine()
    service.join("builder", "c1")
    service.principal = operator
    return service


# Work in progress when the role is assigned elsewhere.


def reassign_role_at_work() -> tuple[InProcessService, str]:
    service = make_service_with_daemon_agent()
    service.register_machine("m2")
    task = service.send_message().task
    assert task is not None
    service.principal = Principal(scope=MACHINE, machine="m1")
    assert service.claim("builder", "c1") is not None
    service.principal = OPERATOR_PRINCIPAL
    service.set_agent_spec("builder", machine="m2")
    service.principal = Principal(scope=MACHINE, machine="m2")
    service.beat_machine(machine="m2", incarnation="i2")
    service.principal = Principal(scope=MACHINE, machine="m1")
    return service, task.id


def test_result_counts_before_new_claim() -> None:
    service, task = reassign_role_at_work()
    assert "completed" == service.complete(task, "c1", 1).status


def test_result_is_late_after_takeover() -> None:
    service, task = reassign_role_at_work()
    service.principal = Principal(scope=MACHINE, machine="m2")
    service.join("builder", "c2")
    service.principal = Principal(scope=MACHINE, machine="m3")
    with pytest.raises(Refused):
        service.complete(task, "c1", 1)
    service.principal = Principal(scope=MACHINE, machine="m1")
    with pytest.raises(Superseded):
        service.complete(task, "c1", 1, "what c1 had")
    service.principal = OPERATOR_PRINCIPAL
    assert ["what c1 had"] == [late.text for late in service.show_task(task).late_results]


def test_silence_of_old_machine_is_no_failure() -> None:
    service, task = reassign_role_at_work()
    service.principal = Principal(scope=MACHINE, machine="m2")
    for _ in range(10):
        service.pass_time(service.limits.daemon_heartbeat_interval_s)
        service.beat_machine(machine="m2", incarnation="i2")
    service.principal = OPERATOR_PRINCIPAL
    assert ("pending", "lost", 0) == (
        service.show_task(task).status,
        service.show_task(task).released_cause,
        service.show_task(task).failures,
    )
