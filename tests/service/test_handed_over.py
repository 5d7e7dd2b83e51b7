"""Detached claims: an agent that works by single commands sends no heartbeats, and keeps its task nevertheless."""

import pytest

from greenroom.domain.errors import Superseded
from tests.service.house import House


def handed() -> tuple[House, str, int]:
    house = House()
    house.room()
    house.join("builder", "a")
    house.send()
    task = house.claim("builder", "a", hand_over=True)
    assert task is not None
    return house, task.id, task.attempt


def present(house: House) -> list[str]:
    return [each.connection_id for each in house.look().participants]


def test_a_handed_over_task_is_held_for_the_acknowledged_timeout() -> None:
    house, _, _ = handed()
    house.pass_time(house.limits.task_acknowledged_timeout_s - 1)
    assert ["a"] == present(house)
    house.pass_time(3)
    assert [] == present(house)


def test_each_call_for_the_attempt_renews_the_seat_to_the_work_lease() -> None:
    house, task, attempt = handed()
    house.start(task, "a", attempt)
    house.pass_time(house.limits.work_lease_s - 10)
    assert ["a"] == present(house)
    house.progress(task, "a", attempt)
    house.pass_time(house.limits.work_lease_s - 10)
    assert "in_progress" == house.task(task).status


def test_the_work_lease_survives_a_restart_of_the_server() -> None:
    house, task, attempt = handed()
    house.start(task, "a", attempt)
    house.open()
    house.pass_time(house.limits.work_lease_s - 10)
    assert ["a"] == present(house)


def test_the_end_of_the_task_puts_the_seat_back_to_the_ordinary_lease() -> None:
    house, task, attempt = handed()
    house.start(task, "a", attempt)
    house.complete(task, "a", attempt)
    house.pass_time(house.limits.heartbeat_ttl_s - 1)
    assert ["a"] == present(house)
    house.pass_time(3)
    assert [] == present(house)


def test_an_agent_that_worked_past_its_lease_completes_the_same_attempt() -> None:
    house, task, attempt = handed()
    house.start(task, "a", attempt)
    house.pass_time(house.limits.work_lease_s + house.limits.task_lost_after_s + 5)
    assert ("pending", "lost") == (house.task(task).status, house.task(task).released_cause)
    done = house.complete(task, "a", attempt, "late but alone")
    assert ("completed", attempt, "late but alone") == (done.status, done.attempt, done.result)
    assert ["a"] == present(house)
    assert "task.resumed" in house.event_types()


def test_its_result_is_kept_as_a_late_one_once_somebody_newer_has_the_task() -> None:
    house, task, attempt = handed()
    house.pass_time(house.limits.task_acknowledged_timeout_s + house.limits.task_lost_after_s + 5)
    house.join("builder", "b")
    newer = house.claim("builder", "b")
    assert newer is not None
    assert (task, attempt + 1) == (newer.id, newer.attempt)
    with pytest.raises(Superseded, match="no longer counts"):
        house.complete(task, "a", attempt, "what I had")
    late = house.task(task).late_results
    assert [("a", attempt, "what I had")] == [(each.connection_id, each.attempt, each.text) for each in late]
    done = house.complete(task, "b", newer.attempt, "what counts")
    assert "what counts" == done.result


def test_the_seat_of_a_task_that_a_person_cancels_goes_back_to_the_ordinary_lease() -> None:
    house, task, attempt = handed()
    house.start(task, "a", attempt)
    house.cancel(task)
    house.pass_time(house.limits.heartbeat_ttl_s - 1)
    assert ["a"] == present(house)
    house.pass_time(3)
    assert [] == present(house)


def test_who_comes_back_to_find_its_task_gone_is_to_beat_as_anybody() -> None:
    house, task, attempt = handed()
    house.start(task, "a", attempt)
    house.pass_time(house.limits.work_lease_s + house.limits.task_lost_after_s + 3)
    house.cancel(task)
    house.join("builder", "a")
    house.pass_time(house.limits.heartbeat_ttl_s + 2)
    assert [] == present(house), "its lease is still as long as that of an agent at work"
