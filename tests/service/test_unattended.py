"""Work that waits for a role without an agent: one alert is raised, and nothing is started."""

import pytest

from greenroom.wire.replies import AlertView
from tests.service.in_process_service import InProcessService


@pytest.fixture
def service() -> InProcessService:
    new_service = InProcessService()
    new_service.create_room(max_requests=3)
    return new_service


def list_alerts(service: InProcessService) -> list[AlertView]:
    return service.list_alerts()


def alert_event_types(service: InProcessService) -> list[str]:
    return [event.type for event in service.events() if event.type.startswith("alert.")]


def alert_key(service: InProcessService, role: str = "builder") -> str:
    return f"unattended:{service.show_room().id}/{role}"


def test_one_alert_and_no_start(service: InProcessService) -> None:
    task = service.send_message().task
    assert task is not None
    service.pass_time(service.limits.task_pending_timeout_s - 1)
    assert list_alerts(service) == []
    before = service.event_types()
    service.pass_time(2)
    [alert] = list_alerts(service)
    assert (alert.id, alert.room, alert.role, alert.task) == (alert_key(service), "r", "builder", task.id)
    for named in (task.id, "builder", "room r"):
        assert named in alert.text
    service.send_message()
    service.pass_time(3 * service.limits.task_pending_timeout_s)
    assert len(list_alerts(service)) == 1
    after = service.event_types()[len(before) :]
    assert sorted(after) == ["alert.raised", "message.sent", "task.opened"]


def test_join_resolves_alert(service: InProcessService) -> None:
    service.send_message()
    service.pass_time(400)
    service.join("builder", "a")
    service.pass_time(1)
    assert (list_alerts(service), alert_event_types(service)) == ([], ["alert.raised", "alert.resolved"])


def test_short_joins_do_not_prevent_alert(service: InProcessService) -> None:
    """A daemon that finds no program to run does so again and again."""
    service.send_message()
    for number in range(6):
        service.pass_time(service.limits.task_pending_timeout_s / 5)
        service.join("builder", f"c{number}")
        service.leave("builder", f"c{number}")
    service.pass_time(1)
    assert [alert_key(service)] == [alert.id for alert in list_alerts(service)]


def test_claim_restarts_wait(service: InProcessService) -> None:
    service.send_message()
    service.send_message()
    service.pass_time(service.limits.task_pending_timeout_s - 10)
    service.join("builder", "a")
    assert service.claim("builder", "a") is not None
    service.leave("builder", "a")
    service.pass_time(20)
    assert list_alerts(service) == []
    service.pass_time(service.limits.task_pending_timeout_s)
    assert [alert_key(service)] == [alert.id for alert in list_alerts(service)]


def test_end_of_waiting_tasks_resolves_alert(service: InProcessService) -> None:
    sent = [service.send_message().task, service.send_message().task]
    service.pass_time(400)
    for task in sent:
        assert task is not None
        assert len(list_alerts(service)) == 1
        service.cancel(task.id)
        service.pass_time(1)
    assert list_alerts(service) == []


def test_presence_restarts_wait(service: InProcessService) -> None:
    service.send_message()
    service.send_message()
    service.pass_time(200)
    service.join("builder", "a")
    assert service.claim("builder", "a") is not None
    service.pass_time(20)
    service.leave("builder", "a")
    service.pass_time(200)
    assert list_alerts(service) == []
    service.pass_time(150)
    assert [alert.id for alert in list_alerts(service)] == [alert_key(service)]


def test_silent_agent_leaves_role_unattended(service: InProcessService) -> None:
    service.join("builder", "a")
    service.send_message()
    service.pass_time(service.limits.heartbeat_ttl_s + service.limits.task_pending_timeout_s + 2)
    assert [alert.id for alert in list_alerts(service)] == [alert_key(service)]


def test_held_task_does_not_count(service: InProcessService) -> None:
    service.join_and_claim("reviewer", "a")
    for _ in range(30):
        service.pass_time(30)
        service.beat("reviewer", "a")
    assert list_alerts(service) == []


def test_server_restart_keeps_alerts_restarts_wait(service: InProcessService) -> None:
    service.send_message(to="reviewer")
    service.pass_time(400)
    service.send_message()
    service.pass_time(200)
    service.restart_server()
    service.pass_time(200)
    assert [alert.id for alert in list_alerts(service)] == [alert_key(service, "reviewer")]
    service.pass_time(110)
    assert {alert.id for alert in list_alerts(service)} == {alert_key(service, "reviewer"), alert_key(service)}
    service.restart_server()
    service.join("reviewer", "a")
    service.pass_time(1)
    assert [alert.id for alert in list_alerts(service)] == [alert_key(service)]
    assert alert_event_types(service) == ["alert.raised", "alert.raised", "alert.resolved"]


def test_alert_resolved_after_downtime(service: InProcessService) -> None:
    task = service.send_message().task
    assert task is not None
    service.pass_time(400)
    service.cancel(task.id)
    service.restart_server()
    service.pass_time(1)
    assert list_alerts(service) == []


def test_server_downtime_does_not_count(service: InProcessService) -> None:
    service.send_message()
    service.clock.advance(1000)
    service.pass_time(290)
    assert list_alerts(service) == []


def test_deleted_room_has_no_alerts(service: InProcessService) -> None:
    task = service.send_message().task
    assert task is not None
    service.pass_time(400)
    service.cancel(task.id)
    service.close_room()
    service.delete_room()
    assert (list_alerts(service), alert_event_types(service)) == ([], ["alert.raised", "alert.resolved"])
    service.pass_time(400)
    assert (list_alerts(service), alert_event_types(service)) == ([], []), (
        "an event was recorded for a room whose events are deleted"
    )
