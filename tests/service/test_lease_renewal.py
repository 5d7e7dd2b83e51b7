"""Only an agent's own calls renew its lease, and time in which the server was down does not count."""

from collections.abc import Callable

import pytest

from greenroom.domain.task import Task
from greenroom.service import task_admin
from tests.service.in_process_service import InProcessService


@pytest.mark.parametrize("action", [task_admin.cancel, task_admin.reset])
def test_user_actions_renew_no_lease(action: Callable[..., Task]) -> None:
    service = InProcessService()
    service.create_room()
    service.join("builder", "a")
    service.send_message()
    task = service.claim("builder", "a")
    assert task is not None
    service.pass_time(60)
    service.act_on_task(action, task.id)
    service.pass_time(35)
    assert [] == list(service.show_room().participants)


def test_server_downtime_is_no_silence() -> None:
    """Its holder may have called all the time while the server was down."""
    service = InProcessService()
    service.create_room()
    task = service.join_and_claim("builder", "a").id
    service.pass_time(service.limits.heartbeat_ttl_s + service.limits.sweep_interval_s)
    assert [] == list(service.show_room().participants)
    service.clock.advance(10 * service.limits.task_lost_after_s)
    service.pass_time(service.limits.task_lost_after_s - 1)
    assert "a" == service.show_task(task).claimed_by
    service.pass_time(1 + service.limits.sweep_interval_s)
    assert ("pending", "lost") == (service.show_task(task).status, service.show_task(task).released_cause)
