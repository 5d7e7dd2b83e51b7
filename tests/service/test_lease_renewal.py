"""Only an agent's own calls renew its lease, and time in which the server was down does not count."""

from collections.abc import Callable

import pytest

from greenroom.domain.task import Task
from greenroom.service import decisions
from tests.service.house import House


@pytest.mark.parametrize("action", [decisions.cancel, decisions.reset])
def test_user_actions_renew_no_lease(action: Callable[..., Task]) -> None:
    service = House()
    service.room()
    service.join("builder", "a")
    service.send()
    task = service.claim("builder", "a")
    assert task is not None
    service.pass_time(60)
    service.move(action, task.id)
    service.pass_time(35)
    assert [] == list(service.look().participants)


def test_server_downtime_is_no_silence() -> None:
    """Its holder may have called all the time while the server was down."""
    service = House()
    service.room()
    task = service.working("builder", "a").id
    service.pass_time(service.limits.heartbeat_ttl_s + service.limits.sweep_interval_s)
    assert [] == list(service.look().participants)
    service.clock.move(10 * service.limits.task_lost_after_s)
    service.pass_time(service.limits.task_lost_after_s - 1)
    assert "a" == service.task(task).claimed_by
    service.pass_time(1 + service.limits.sweep_interval_s)
    assert ("pending", "lost") == (service.task(task).status, service.task(task).released_cause)
