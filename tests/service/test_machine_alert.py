"""Tasks that wait for a machine that is not connected: one alert for all of them, and none for each role."""

from collections.abc import Callable

import pytest

from greenroom.domain.principal import OPERATOR_PRINCIPAL
from greenroom.wire.requests import AgentReport
from tests.service.in_process_service import InProcessService
from tests.service.scenarios import DAEMON, open_task

MACHINE_ALERT = "machine_not_connected:m1"


@pytest.fixture
def service() -> InProcessService:
    """A builder and a reviewer that machine m1 should run, which is not connected."""
    new_service = InProcessService()
    new_service.create_room(max_requests=5)
    new_service.register_machine()
    new_service.set_agent_spec("builder")
    new_service.set_agent_spec("reviewer")
    return new_service


def alert_ids(service: InProcessService) -> list[str]:
    return [alert.id for alert in service.list_alerts()]


def unattended(service: InProcessService, role: str = "builder") -> str:
    return f"unattended:{service.show_room().id}/{role}"


def alert_events(service: InProcessService) -> list[tuple[str, str]]:
    return [(event.type, event.data["id"]) for event in service.events() if event.type.startswith("alert.")]


def connect(service: InProcessService, seconds: float = 0) -> None:
    """Let the machine's daemon beat, for `seconds`."""
    service.beat_machine()
    for _ in range(round(seconds / 30)):
        service.pass_time(30)
        service.beat_machine()


def wait_for_alert(service: InProcessService) -> None:
    service.pass_time(service.limits.task_pending_timeout_s + 1)


def test_only_waiting_tasks_raise_it(service: InProcessService) -> None:
    service.pass_time(4 * service.limits.task_pending_timeout_s)
    assert [] == alert_ids(service)
    open_task(service)
    service.pass_time(service.limits.task_pending_timeout_s - 1)
    assert [] == alert_ids(service)
    service.pass_time(2)
    assert [MACHINE_ALERT] == alert_ids(service)


def test_one_alert_lists_all_waiting_roles(service: InProcessService) -> None:
    service.create_room("s")
    service.set_agent_spec("builder", room="s")
    open_task(service)
    service.send_message(room="s")
    wait_for_alert(service)
    service.send_message(to="reviewer")
    [alert] = service.list_alerts()
    assert (MACHINE_ALERT, "m1", ("m1",), None, "greenroom daemon start") == (
        alert.id,
        alert.subject,
        alert.subjects,
        alert.room,
        alert.next,
    )
    assert "r/builder, r/reviewer, s/builder" in alert.text
    wait_for_alert(service)
    assert [("alert.raised", MACHINE_ALERT)] == alert_events(service)
    assert ["server"] == [event.stream for event in service.events() if event.type == "alert.raised"]


def test_connection_resolves_it_and_restarts_the_wait(service: InProcessService) -> None:
    open_task(service)
    wait_for_alert(service)
    connect(service)
    service.pass_time(1)
    assert [("alert.raised", MACHINE_ALERT), ("alert.resolved", MACHINE_ALERT)] == alert_events(service)
    connect(service, service.limits.task_pending_timeout_s - 30)
    assert [] == alert_ids(service), "its daemon has had no time to start the agent"
    connect(service, 60)
    assert [unattended(service)] == alert_ids(service)


END_WAITING: dict[str, Callable[[InProcessService, str], object]] = {
    "cancel": lambda service, task: service.cancel(task),
    "move": lambda service, task: service.set_agent_spec("builder", machine=None),
    "stop": lambda service, task: service.set_agent_spec("builder", desired="stopped"),
    "join": lambda service, task: service.join("builder", "a"),
}


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("end", END_WAITING)
def test_end_of_waiting_resolves_it(service: InProcessService, end: str, restarted: bool) -> None:
    task = open_task(service)
    wait_for_alert(service)
    if restarted:
        service.restart_server()
        service.pass_time(1)
    END_WAITING[end](service, task)
    service.pass_time(1)
    assert [] == alert_ids(service)
    assert ("alert.resolved", MACHINE_ALERT) == alert_events(service)[-1]


def test_one_role_less_keeps_it(service: InProcessService) -> None:
    task = open_task(service)
    service.send_message(to="reviewer")
    wait_for_alert(service)
    service.cancel(task)
    service.pass_time(1)
    [alert] = service.list_alerts()
    assert "r/reviewer" in alert.text
    assert "r/builder" not in alert.text
    assert [("alert.raised", MACHINE_ALERT)] == alert_events(service)


def test_server_restart_keeps_it(service: InProcessService) -> None:
    open_task(service)
    wait_for_alert(service)
    service.restart_server()
    wait_for_alert(service)
    assert [("alert.raised", MACHINE_ALERT)] == alert_events(service)
    service.restart_server()
    connect(service)
    service.pass_time(1)
    assert [("alert.raised", MACHINE_ALERT), ("alert.resolved", MACHINE_ALERT)] == alert_events(service)


def test_connection_during_downtime_resolves_it(service: InProcessService) -> None:
    open_task(service)
    wait_for_alert(service)
    service.beat_machine()
    service.restart_server()
    service.pass_time(1)
    assert ("alert.resolved", MACHINE_ALERT) == alert_events(service)[-1]


def test_unattended_alert_gives_way_to_it(service: InProcessService) -> None:
    """The machine is there, but its agent does not start; then the machine is gone, too."""
    open_task(service)
    connect(service, service.limits.task_pending_timeout_s + 30)
    assert [unattended(service)] == alert_ids(service)
    service.pass_time(service.limits.daemon_heartbeat_ttl_s + 2)
    assert [MACHINE_ALERT] == alert_ids(service)
    assert ("alert.resolved", unattended(service)) in alert_events(service)


def test_agent_of_a_user_has_its_own_alert(service: InProcessService) -> None:
    service.set_agent_spec("builder", machine=None)
    open_task(service)
    service.send_message(to="reviewer")
    wait_for_alert(service)
    assert {unattended(service), MACHINE_ALERT} == set(alert_ids(service))


@pytest.mark.parametrize("order", ["before", "after"])
def test_crash_looping_role_has_one_alert(service: InProcessService, order: str) -> None:
    service.beat_machine()
    service.principal = DAEMON
    service.join("builder", "a")
    report = AgentReport(id="x", kind="crash_looping", room="r", role="builder", connection_id="a", detail="code 3")
    if order == "before":
        service.send_reports(report)
    service.leave("builder", "a")
    service.principal = OPERATOR_PRINCIPAL
    task = open_task(service)
    connect(service, service.limits.task_pending_timeout_s + 60)
    if order == "after":
        assert [unattended(service)] == alert_ids(service)
        service.principal = DAEMON
        service.send_reports(report)
        service.principal = OPERATOR_PRINCIPAL
        service.pass_time(1)
    [alert] = service.list_alerts()
    assert ("crash_looping", "r", "builder", task) == (alert.kind, alert.room, alert.role, alert.task)
    service.set_agent_spec("builder", desired="stopped")
    service.pass_time(1)
    assert [] == alert_ids(service)
    service.set_agent_spec("builder")
    connect(service, service.limits.task_pending_timeout_s + 30)
    assert [unattended(service)] == alert_ids(service)
