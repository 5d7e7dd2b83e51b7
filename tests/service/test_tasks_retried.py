"""A quarantined task waits for a user, who retries it, sends it to another role or cancels it."""

import pytest

from greenroom.domain.errors import Unusable
from greenroom.domain.reliability import Reliability
from greenroom.wire.requests import Fact
from tests.service.house import House
from tests.service.team import claimed, opened, standing


def dead_three_times(house: House) -> str:
    task = opened(house)
    for number in range(house.limits.task_deaths_max):
        assert task == claimed(house, connection=f"A{number}" if number else "A").id
        house.leave("builder", f"A{number}" if number else "A", cause="exited")
        house.join("builder", f"A{number + 1}")
    return task


def attentions(house: House) -> list[tuple[str, str]]:
    return [(e.type, e.data["key"]) for e in house.events() if e.type.startswith("attention.")]


def test_the_third_death_sets_it_apart_and_names_who_takes_its_place() -> None:
    house = standing()
    task = dead_three_times(house)
    apart = house.task(task)
    assert ("quarantined", 3) == (apart.status, apart.deaths)
    assert "3 attempts failed" in (apart.reason or "")
    assert [("attention.raised", f"quarantined:{task}")] == attentions(house)

    again = house.retry(task)
    assert ("pending", 0, None) == (again.status, again.deaths, again.reason)
    assert ("attention.resolved", f"quarantined:{task}") == attentions(house)[-1]


def test_a_task_that_leaves_its_place_by_dying_names_the_next_one() -> None:
    house = standing(Reliability(task_deaths_max=1))
    task = opened(house)
    waiting = opened(house)
    claimed(house)
    house.leave("builder", "A", cause="exited")
    assert ("quarantined", waiting) == (house.task(task).status, house.task(task).promoted)
    assert "pending" == house.task(waiting).status


def test_a_death_told_by_a_daemon_names_it_too() -> None:
    house = standing(Reliability(task_deaths_max=1))
    house.register()
    house.wish("builder")
    house.beat_machine()
    task, waiting = opened(house), opened(house)
    claimed(house)
    house.report(Fact(id="f", kind="exited", room="r", role="builder", connection_id="A", task=task, attempt=1, code=1))
    assert waiting == house.task(task).promoted


def test_declining_frees_the_place_and_retrying_waits_for_one() -> None:
    house = standing()
    task, waiting = opened(house), opened(house)
    claimed(house)
    declined = house.decline(task, "A", 1, "the tests need a licence")
    assert ("quarantined", waiting) == (declined.status, declined.promoted)
    assert "declined: the tests need a licence" == declined.reason

    again = house.retry(task)
    assert ("queued", None) == (again.status, again.promoted)
    assert task == house.cancel(waiting).promoted


def test_it_may_be_sent_to_another_role_with_all_that_was_noted() -> None:
    house = standing()
    task = opened(house)
    house.note(task, "it is in the cellar")
    claimed(house)
    house.decline(task, "A", 1, "I have no key")

    closed = house.retry(task, to="reviewer", reason="has the key")

    assert closed.next_task is not None
    assert ("closed", "sent to reviewer: has the key") == (closed.status, closed.reason)
    sent = claimed(house, "R", "reviewer")
    assert (closed.next_task, task, closed.text, 0) == (sent.id, sent.request, sent.text, sent.deaths)
    assert ["it is in the cellar"] == [note.text for note in sent.notes]
    assert ("attention.resolved", f"quarantined:{task}") == attentions(house)[-1]
    house.note(sent.id, "and dark")
    assert ("and dark",) == house.beat("reviewer", "R").notes


def test_what_is_sent_to_another_role_waits_when_the_room_is_full() -> None:
    house = standing()
    task, waiting = opened(house), opened(house)
    claimed(house)
    house.decline(task, "A", 1)
    sent = house.retry(task, to="reviewer").next_task
    assert sent is not None
    assert "queued" == house.task(sent).status
    assert sent == house.cancel(waiting).promoted


def test_it_can_be_sent_to_a_role_of_the_room_only_and_to_its_own_it_is_tried_again() -> None:
    house = standing()
    task = opened(house)
    claimed(house)
    house.decline(task, "A", 1)
    with pytest.raises(Unusable, match="no role"):
        house.retry(task, to="nobody")
    assert "quarantined" == house.task(task).status
    assert ("pending", None) == ((again := house.retry(task, to="builder")).status, again.next_task)


def test_a_request_that_a_person_let_go_on_may_be_handed_on_as_often_again() -> None:
    """The hand-offs count from 0 again; otherwise the next one would quarantine the task again."""
    house = standing(Reliability(max_handoffs=2))
    task = opened(house)

    def hand_around() -> tuple[str, int]:
        nonlocal task
        for turn in range(10):
            held = house.task(task)
            role, connection = held.target_role, {"builder": "A", "reviewer": "R"}[held.target_role]
            attempt = claimed(house, connection, role).attempt
            following = house.handoff(task, connection, attempt, to="reviewer" if role == "builder" else "builder")
            assert following.next_task is not None
            task = following.next_task
            if house.task(task).status == "quarantined":
                return house.task(task).reason or "", turn
        raise AssertionError("no hand-off limit was met")

    reason, turns = hand_around()
    assert 2 == turns
    assert "hand-off limit: 3 hand-offs in one request (limit 2)" in reason
    assert ("attention.raised", f"quarantined:{task}") == attentions(house)[-1]

    assert 0 == house.retry(task).handoffs
    assert 2 == hand_around()[1]
    sent = house.retry(task, to="builder" if house.task(task).target_role == "reviewer" else "reviewer").next_task
    assert sent is not None
    task = sent
    assert 2 == hand_around()[1]
