"""Detached claims: an agent that works by single commands sends no heartbeats, and keeps its task nevertheless."""

import pytest

from greenroom.domain.errors import Superseded
from tests.service.in_process_service import InProcessService


def make_service_with_detached_claim() -> tuple[InProcessService, str, int]:
    service = InProcessService()
    service.create_room()
    service.join("builder", "a")
    service.send_message()
    task = service.claim("builder", "a", detached=True)
    assert task is not None
    return service, task.id, task.attempt


def present_connections(service: InProcessService) -> list[str]:
    return [each.connection_id for each in service.show_room().participants]


def test_lease_lasts_acknowledged_timeout() -> None:
    service, _, _ = make_service_with_detached_claim()
    service.pass_time(service.limits.task_acknowledged_timeout_s - 1)
    assert ["a"] == present_connections(service)
    service.pass_time(3)
    assert [] == present_connections(service)


def test_calls_renew_work_lease() -> None:
    service, task, attempt = make_service_with_detached_claim()
    service.start(task, "a", attempt)
    service.pass_time(service.limits.work_lease_s - 10)
    assert ["a"] == present_connections(service)
    service.progress(task, "a", attempt)
    service.pass_time(service.limits.work_lease_s - 10)
    assert "in_progress" == service.show_task(task).status


def test_work_lease_survives_server_restart() -> None:
    service, task, attempt = make_service_with_detached_claim()
    service.start(task, "a", attempt)
    service.restart_server()
    service.pass_time(service.limits.work_lease_s - 10)
    assert ["a"] == present_connections(service)


def test_completion_restores_ordinary_lease() -> None:
    service, task, attempt = make_service_with_detached_claim()
    service.start(task, "a", attempt)
    service.complete(task, "a", attempt)
    service.pass_time(service.limits.heartbeat_ttl_s - 1)
    assert ["a"] == present_connections(service)
    service.pass_time(3)
    assert [] == present_connections(service)


def test_completion_after_lease_expiry() -> None:
    service, task, attempt = make_service_with_detached_claim()
    service.start(task, "a", attempt)
    service.pass_time(service.limits.work_lease_s + service.limits.task_lost_after_s + 5)
    assert ("pending", "lost") == (service.show_task(task).status, service.show_task(task).released_cause)
    done = service.complete(task, "a", attempt, "late but alone")
    assert ("completed", attempt, "late but alone") == (done.status, done.attempt, done.result)
    assert ["a"] == present_connections(service)
    assert "task.resumed" in service.event_types()


def test_late_result_after_newer_claim() -> None:
    service, task, attempt = make_service_with_detached_claim()
    service.pass_time(service.limits.task_acknowledged_timeout_s + service.limits.task_lost_after_s + 5)
    service.join("builder", "b")
    newer = service.claim("builder", "b")
    assert newer is not None
    assert (task, attempt + 1) == (newer.id, newer.attempt)
    with pytest.raises(Superseded, match="no longer counts"):
        service.complete(task, "a", attempt, "what I had")
    late = service.show_task(task).late_results
    assert [("a", attempt, "what I had")] == [(each.connection_id, each.attempt, each.text) for each in late]
    done = service.complete(task, "b", newer.attempt, "what counts")
    assert "what counts" == done.result


def test_cancel_restores_ordinary_lease() -> None:
    service, task, attempt = make_service_with_detached_claim()
    service.start(task, "a", attempt)
    service.cancel(task)
    service.pass_time(service.limits.heartbeat_ttl_s - 1)
    assert ["a"] == present_connections(service)
    service.pass_time(3)
    assert [] == present_connections(service)


def test_rejoin_without_task_gets_ordinary_lease() -> None:
    service, task, attempt = make_service_with_detached_claim()
    service.start(task, "a", attempt)
    service.pass_time(service.limits.work_lease_s + service.limits.task_lost_after_s + 3)
    service.cancel(task)
    service.join("builder", "a")
    service.pass_time(service.limits.heartbeat_ttl_s + 2)
    assert [] == present_connections(service), "its lease is still as long as that of an agent at work"
