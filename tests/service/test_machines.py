"""A machine and its agents: they stay present while it beats, expire with it and return with it."""

import pytest

from greenroom.domain.errors import Superseded
from greenroom.domain.principal import OPERATOR_PRINCIPAL
from greenroom.service import machine_heartbeats
from greenroom.wire import requests
from tests.service.in_process_service import InProcessService
from tests.service.scenarios import DAEMON, join_daemon_agents, role_statuses


def make_service_with_daemon_agents() -> InProcessService:
    service = InProcessService()
    join_daemon_agents(service)
    return service


def exit_report(report_id: str, task: str, attempt: int, connection: str = "a") -> requests.AgentReport:
    return requests.AgentReport(
        id=report_id,
        kind="exited",
        room="r",
        role="builder",
        connection_id=connection,
        task=task,
        attempt=attempt,
        code=1,
    )


def test_machine_beats_keep_agents_present() -> None:
    service = make_service_with_daemon_agents()
    for _ in range(20):
        service.pass_time(30)
        reply = service.beat_machine(("builder", "a"), ("reviewer", "b"))
        assert ["ok", "ok"] == [agent.status for agent in reply.agents]
    assert ["a", "b"] == [each.connection_id for each in service.show_room().participants]
    assert "participant.expired" not in service.event_types()


def test_silent_machine_agents_unknown_then_offline() -> None:
    service = make_service_with_daemon_agents()
    service.pass_time(35)
    assert {"builder": "unknown", "reviewer": "unknown"} == role_statuses(service)
    service.pass_time(90)
    assert {"builder": "offline", "reviewer": "offline"} == role_statuses(service)
    assert 1 == service.event_types().count("machine.disconnected")
    assert 2 == service.event_types().count("participant.expired")


def test_next_beat_restores_machine_and_agents() -> None:
    service = make_service_with_daemon_agents()
    service.send_message()
    task = service.claim("builder", "a")
    assert task is not None
    service.pass_time(300)
    assert not service.show_machine().daemon_connected
    assert "pending" == service.show_task(task.id).status
    before = len(service.events())
    reply = service.beat_machine(("builder", "a"), ("reviewer", "b"))
    assert (True, "ok") == (reply.daemon_connected, reply.status)
    assert [("ok", task.id), ("ok", None)] == [(a.status, a.task.id if a.task else None) for a in reply.agents]
    event_types = [event.type for event in service.events()[before:]]
    assert ["machine.reconnected", "task.resumed", "participant.rejoined", "participant.rejoined"] == event_types
    assert (task.attempt, "a") == (service.show_task(task.id).attempt, service.show_task(task.id).claimed_by)
    assert service.show_machine().daemon_connected


def test_machine_silence_is_no_task_failure() -> None:
    service = make_service_with_daemon_agents()
    service.send_message()
    task = service.claim("builder", "a")
    assert task is not None
    service.pass_time(300)
    assert ("pending", 0) == (service.show_task(task.id).status, service.show_task(task.id).failures)


def test_taken_over_agent_is_superseded() -> None:
    service = make_service_with_daemon_agents()
    service.pass_time(300)
    service.join("builder", "user_agent")
    reply = service.beat_machine(("builder", "a"), ("reviewer", "b"))
    assert ["superseded", "ok"] == [agent.status for agent in reply.agents]


def test_exit_report_releases_task_once() -> None:
    service = make_service_with_daemon_agents()
    service.send_message()
    task = service.claim("builder", "a")
    assert task is not None
    assert 1 == service.send_reports(exit_report("f1", task.id, task.attempt)).accepted
    assert ("pending", "exited", 1) == (
        service.show_task(task.id).status,
        service.show_task(task.id).released_cause,
        service.show_task(task.id).failures,
    )
    assert 0 == service.send_reports(exit_report("f1", task.id, task.attempt)).accepted
    assert 1 == service.event_types().count("agent.exited")
    service.principal = DAEMON
    service.join("builder", "a2")
    again = service.claim("builder", "a2")
    assert again is not None
    assert (task.id, task.attempt + 1) == (again.id, again.attempt)


def test_exit_report_of_former_holder_only_logged() -> None:
    service = make_service_with_daemon_agents()
    service.send_message()
    task = service.claim("builder", "a")
    assert task is not None
    service.join("builder", "newer")
    service.pass_time(service.limits.takeover_grace_s)
    taken = service.claim("builder", "newer")
    assert taken is not None
    service.send_reports(exit_report("f1", task.id, task.attempt))
    assert ("acknowledged", "newer") == (service.show_task(task.id).status, service.show_task(task.id).claimed_by)
    assert ["newer"] == [each.connection_id for each in service.show_room().participants if each.role == "builder"]


def test_third_failure_quarantines_task() -> None:
    service = make_service_with_daemon_agents()
    sent = service.send_message().task
    assert sent is not None
    service.principal = DAEMON
    connection = "a"
    for failure in range(3):
        task = service.claim("builder", connection)
        assert task is not None
        service.send_reports(exit_report(f"f{failure}", task.id, task.attempt, connection))
        connection = f"a{failure}"
        service.join("builder", connection)
    service.principal = OPERATOR_PRINCIPAL
    assert ("quarantined", 3) == (service.show_task(sent.id).status, service.show_task(sent.id).failures)
    assert service.claim("builder", connection) is None


def test_new_incarnation_ends_unnamed_agents() -> None:
    service = make_service_with_daemon_agents()
    service.send_message()
    task = service.claim("builder", "a")
    assert task is not None
    service.beat_machine(incarnation="i2")
    assert [] == list(service.show_room().participants)
    assert ("pending", "exited") == (service.show_task(task.id).status, service.show_task(task.id).released_cause)


def test_older_incarnation_is_superseded() -> None:
    service = make_service_with_daemon_agents()
    service.beat_machine(incarnation="i2")
    assert "superseded" == service.beat_machine(("builder", "a"), incarnation="i1").status
    with pytest.raises(Superseded, match="newer incarnation"):
        service.send_reports(incarnation="i1")


def test_leaving_beat_disconnects_machine() -> None:
    service = make_service_with_daemon_agents()
    body = requests.MachineHeartbeat(incarnation="i1", leaving=True)
    reply = service.run_mutation(
        lambda tx: machine_heartbeats.process_heartbeat(service.context, tx, DAEMON, "m1", body)
    )
    assert not reply.daemon_connected
    assert {"builder": "offline", "reviewer": "offline"} == role_statuses(service)
    assert service.beat_machine(("builder", "a")).daemon_connected


def test_reassignment_reaches_old_machine() -> None:
    service = make_service_with_daemon_agents()
    service.register_machine("m2")
    before = service.show_machine("m1"), service.context.leases.machines["m1"].assignments_version
    service.set_agent_spec("builder", machine="m2", desired="stopped")
    assert before[1] + 1 == service.context.leases.machines["m1"].assignments_version
    assert "stopping" == role_statuses(service)["builder"]
