"""Only what an agent does itself keeps it present: what people do to its task does not."""

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
