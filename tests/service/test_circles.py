"""A request that is handed back and forth too often is quarantined, and a user can let it go on."""

from greenroom.domain.reliability import Reliability
from tests.service.house import House


def hand_around(house: House, times: int) -> str:
    """Hand one request back and forth between two roles, and return the id of its last task."""
    roles = ("builder", "reviewer")
    sent = house.send().task
    assert sent is not None
    task = sent.id
    for turn in range(times):
        here, there = roles[turn % 2], roles[(turn + 1) % 2]
        held = house.claim(here, here)
        assert held is not None
        assert task == held.id
        done = house.handoff(held.id, here, held.attempt, to=there)
        assert done.next_task is not None
        task = done.next_task
    return task


def around(times: int) -> tuple[House, str]:
    house = House(Reliability(max_handoffs=4))
    house.room()
    house.join("builder", "builder")
    house.join("reviewer", "reviewer")
    return house, hand_around(house, times)


def test_as_many_handoffs_as_are_allowed_go_through() -> None:
    house, task = around(4)
    assert "pending" == house.task(task).status


def test_one_more_is_quarantined_with_the_reason_and_gives_its_place_to_the_next_request() -> None:
    house, _ = around(4)
    waiting = house.send().task
    assert waiting is not None
    assert "queued" == waiting.status
    held = house.claim("builder", "builder")
    assert held is not None
    done = house.handoff(held.id, "builder", held.attempt, to="reviewer")
    assert done.next_task is not None
    circling = house.task(done.next_task)
    assert ("quarantined", True) == (circling.status, "hand-off limit" in (circling.reason or ""))
    assert (waiting.id, "pending") == (done.promoted, house.task(waiting.id).status)


def test_a_person_may_let_it_go_on() -> None:
    house, _ = around(4)
    held = house.claim("builder", "builder")
    assert held is not None
    done = house.handoff(held.id, "builder", held.attempt, to="reviewer")
    assert done.next_task is not None
    assert "pending" == house.retry(done.next_task).status
    again = house.claim("reviewer", "reviewer")
    assert again is not None
    assert "completed" == house.complete(again.id, "reviewer", again.attempt).status
