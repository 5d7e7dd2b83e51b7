"""Takeover of a role at work: its task waits until the former holder's run has stopped."""

from collections.abc import Callable

import pytest

from greenroom.domain.errors import Superseded
from greenroom.domain.principal import OPERATOR_PRINCIPAL
from greenroom.service import task_admin
from greenroom.service.state.notifications import assignments_key, claim_key
from greenroom.store.transaction import Transaction
from greenroom.wire.requests import AddNote, AgentReport
from tests.service.in_process_service import InProcessService
from tests.service.scenarios import DAEMON, make_service_with_daemon_task


@pytest.fixture
def service() -> InProcessService:
    """A builder a at work, whose role b has taken over."""
    new_service = InProcessService()
    new_service.create_room(max_requests=3)
    new_service.join_and_claim("builder", "a")
    new_service.join("builder", "b")
    return new_service


def exit_report(
    connection: str, task: str | None = None, attempt: int | None = None, intended: bool = True
) -> AgentReport:
    return AgentReport(
        id=f"{connection}.{task}",
        kind="exited",
        room="r",
        role="builder",
        connection_id=connection,
        task=task,
        attempt=attempt,
        intended=intended,
    )


def first_task_id(service: InProcessService) -> str:
    return service.show_room().tasks[0].id


def test_taken_over_task_waits_with_reason(service: InProcessService) -> None:
    assert service.claim("builder", "b") is None
    builder = service.show_room().roles[0]
    assert (builder.status, builder.status_reason) == (
        "waiting",
        "its task was taken over from a, whose run is being stopped",
    )
    assert builder.status_until is not None
    with pytest.raises(Superseded):
        service.complete(first_task_id(service), "a", 1)
    with pytest.raises(Superseded):
        service.claim("builder", "a")


def test_wait_ends_after_grace(service: InProcessService) -> None:
    woken: list[float] = []
    service.context.notifications.watch(
        claim_key(service.show_room().id, "builder"), lambda: woken.append(service.clock.monotonic())
    )
    began = service.clock.monotonic()
    service.pass_time(service.limits.takeover_grace_s - 1)
    assert (service.claim("builder", "b"), woken) == (None, [])
    service.pass_time(1)
    assert woken == [began + service.limits.takeover_grace_s]
    claimed = service.claim("builder", "b")
    assert claimed is not None
    assert claimed.attempt == 2
    assert service.show_room().roles[0].status_reason is None


@pytest.mark.parametrize("cause", ["left", "stopped", "exited"])
def test_leave_of_former_holder_ends_wait(service: InProcessService, cause: str) -> None:
    woken: list[str] = []
    service.context.notifications.watch(claim_key(service.show_room().id, "builder"), lambda: woken.append("builder"))
    assert service.leave("builder", "x") == "rejoin_required"
    assert service.claim("builder", "b") is None
    assert service.leave("builder", "a", cause=cause) == "superseded"
    assert woken
    assert service.claim("builder", "b") is not None


def test_wait_keeps_task_order(service: InProcessService) -> None:
    later = service.send_message().task
    assert later is not None
    assert service.claim("builder", "b") is None
    first = first_task_id(service)
    service.leave("builder", "a")
    claimed = service.claim("builder", "b")
    assert claimed is not None
    assert claimed.id == first != later.id


def test_claim_in_takeover_batch_waits() -> None:
    service = InProcessService()
    service.create_room()
    task = service.join_and_claim("builder", "a")
    claimed = service.claim_mutation("builder", "b")
    batch: list[Callable[[Transaction], object]] = [service.join_mutation("builder", "b"), claimed]
    assert service.store.writer.run_batch(batch)[1].result() is None
    assert service.show_room().participants[0].connection_id == "b"
    assert service.show_task(task.id).status == "pending"


def test_failed_takeover_holds_no_task() -> None:
    service = InProcessService()
    service.create_room()
    task = service.join_and_claim("builder", "a")

    def broken(tx: Transaction) -> None:
        service.join_mutation("builder", "b")(tx)
        raise ValueError("broken on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        service.store.run(broken)
    assert not service.context.takeover_holds.is_held(task.id)


def test_wait_restarts_after_server_restart(service: InProcessService) -> None:
    service.pass_time(service.limits.takeover_grace_s - 1)
    service.restart_server()
    service.pass_time(service.limits.takeover_grace_s - 1)
    assert service.claim("builder", "b") is None
    service.restart_server()
    service.leave("builder", "a")
    assert service.claim("builder", "b") is not None


def test_server_downtime_does_not_count(service: InProcessService) -> None:
    service.clock.advance(60)
    service.pass_time(service.limits.takeover_grace_s - 1)
    assert service.claim("builder", "b") is None
    service.pass_time(2)
    assert service.claim("builder", "b") is not None


def test_no_wait_for_expired_holder() -> None:
    service = InProcessService()
    service.create_room()
    service.join_and_claim("builder", "a")
    service.pass_time(service.limits.heartbeat_ttl_s + 1)
    service.join("builder", "b")
    assert service.claim("builder", "b") is not None


def test_chained_takeovers_wait_for_last_holder(service: InProcessService) -> None:
    service.leave("builder", "a")
    assert service.claim("builder", "b") is not None
    service.join("builder", "c")
    service.leave("builder", "a")
    assert service.claim("builder", "c") is None
    service.leave("builder", "b")
    assert service.claim("builder", "c") is not None


# Runs of a daemon.


@pytest.fixture
def daemon_service() -> InProcessService:
    """A daemon's builder a at work, whose role a user's agent b has taken over."""
    new_service, _ = make_service_with_daemon_task()
    new_service.join("builder", "b")
    return new_service


def test_beat_naming_former_holder_keeps_wait(daemon_service: InProcessService) -> None:
    daemon_service.principal = DAEMON
    assert daemon_service.beat_machine(("builder", "a")).agents[0].status == "superseded"
    daemon_service.principal = OPERATOR_PRINCIPAL
    assert daemon_service.claim("builder", "b") is None


def test_takeover_wakes_daemon() -> None:
    service, _ = make_service_with_daemon_task()
    service.principal = DAEMON
    known = service.beat_machine(("builder", "a")).assignments_version
    woken: list[str] = []
    service.context.notifications.watch(assignments_key("m1"), lambda: woken.append("m1"))
    service.principal = OPERATOR_PRINCIPAL
    service.join("builder", "b")
    assert ["m1"] == woken
    service.principal = DAEMON
    assert known + 1 == service.beat_machine(("builder", "a")).assignments_version


@pytest.mark.parametrize("decision", ["cancel", "reset", "note"])
def test_user_decision_wakes_daemon(decision: str) -> None:
    service, held = make_service_with_daemon_task()
    task, service.principal = held.id, DAEMON
    known = service.beat_machine(("builder", "a")).assignments_version
    service.principal = OPERATOR_PRINCIPAL
    if decision == "note":
        note = AddNote(text="mind the step")
        service.run_mutation(lambda tx: task_admin.add_note(service.context, tx, OPERATOR_PRINCIPAL, task, note))
    else:
        service.act_on_task(getattr(task_admin, decision), task)
    service.principal = DAEMON
    assert known + 1 == service.beat_machine(("builder", "a")).assignments_version


def test_beat_without_former_holder_ends_wait(daemon_service: InProcessService) -> None:
    daemon_service.register_machine("m2")
    daemon_service.beat_machine(machine="m2", incarnation="x")
    assert daemon_service.claim("builder", "b") is None
    daemon_service.principal = DAEMON
    daemon_service.beat_machine()
    daemon_service.principal = OPERATOR_PRINCIPAL
    assert daemon_service.claim("builder", "b") is not None


def test_beat_of_new_incarnation_ends_wait(daemon_service: InProcessService) -> None:
    daemon_service.principal = DAEMON
    daemon_service.beat_machine(incarnation="i2")
    daemon_service.principal = OPERATOR_PRINCIPAL
    assert daemon_service.claim("builder", "b") is not None


def test_beat_of_older_incarnation_keeps_wait(daemon_service: InProcessService) -> None:
    daemon_service.principal = DAEMON
    daemon_service.beat_machine(("builder", "a"), incarnation="i2")
    daemon_service.beat_machine(incarnation="i1")
    daemon_service.principal = OPERATOR_PRINCIPAL
    assert daemon_service.claim("builder", "b") is None


def test_exit_report_ends_wait(daemon_service: InProcessService) -> None:
    task = first_task_id(daemon_service)
    daemon_service.principal = DAEMON
    daemon_service.send_reports(exit_report("a", "task_before", 1))
    daemon_service.principal = OPERATOR_PRINCIPAL
    assert daemon_service.claim("builder", "b") is None, "the exit of an earlier run ended the wait"
    daemon_service.principal = DAEMON
    daemon_service.send_reports(exit_report("a", task, 1))
    daemon_service.principal = OPERATOR_PRINCIPAL
    claimed = daemon_service.claim("builder", "b")
    assert claimed is not None
    assert (claimed.attempt, claimed.failures) == (2, 0)


def test_leaving_daemon_ends_wait(daemon_service: InProcessService) -> None:
    daemon_service.principal = DAEMON
    daemon_service.beat_machine(leaving=True)
    daemon_service.principal = OPERATOR_PRINCIPAL
    assert daemon_service.claim("builder", "b") is not None


def test_new_generation_does_not_wait() -> None:
    """A daemon stops its run and leaves before it joins again, so nothing is taken over."""
    service, task = make_service_with_daemon_task()
    service.principal = DAEMON
    service.send_reports(exit_report("a", task.id, 1))
    service.leave("builder", "a", cause="stopped")
    service.join("builder", "a2", if_vacant=True)
    assert service.claim("builder", "a2") is not None
