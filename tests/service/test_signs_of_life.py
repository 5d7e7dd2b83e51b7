"""Only an agent's own calls renew its lease, and time in which the server was down does not count."""

from collections.abc import Callable

import pytest

from greenroom.domain.task import Task
from greenroom.service import decisions
from tests.service.house import House


@pytest.mark.parametrize("how", [decisions.cancel, decisions.reset])
def test_what_a_person_does_to_a_task_does_not_keep_its_holder(how: Callable[..., Task]) -> None:
    house = House()
    house.room()
    house.join("builder", "a")
    house.send()
    task = house.claim("builder", "a")
    assert task is not None
    house.pass_time(60)
    house.move(how, task.id)
    house.pass_time(35)
    assert [] == list(house.look().participants)


def test_an_absence_of_the_server_does_not_count_against_a_task_whose_holder_is_silent() -> None:
    """Its holder may have called all the time while the server was down."""
    house = House()
    house.room()
    task = house.working("builder", "a").id
    house.pass_time(house.limits.heartbeat_ttl_s + house.limits.sweep_interval_s)
    assert [] == list(house.look().participants)
    house.clock.move(10 * house.limits.task_lost_after_s)
    house.pass_time(house.limits.task_lost_after_s - 1)
    assert "a" == house.task(task).claimed_by
    house.pass_time(1 + house.limits.sweep_interval_s)
    assert ("pending", "lost") == (house.task(task).status, house.task(task).released_cause)
