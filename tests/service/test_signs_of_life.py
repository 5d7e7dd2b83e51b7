"""Only what an agent does itself keeps it present: what people do to its task does not."""

from collections.abc import Callable

import pytest

from greenroom.domain.task import Task
from greenroom.service import tasks
from tests.service.house import House


@pytest.mark.parametrize("how", [tasks.cancel, tasks.reset])
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


def test_a_handed_over_seat_whose_task_is_cancelled_goes_back_to_the_ordinary_lease() -> None:
    house = House()
    house.room()
    house.join("builder", "a")
    house.send()
    task = house.claim("builder", "a", hand_over=True)
    assert task is not None
    house.start(task.id, "a", task.attempt)
    house.move(tasks.cancel, task.id)
    house.pass_time(house.limits.heartbeat_ttl_s - 1)
    assert ["a"] == [each.connection_id for each in house.look().participants]
    house.pass_time(3)
    assert [] == list(house.look().participants)
