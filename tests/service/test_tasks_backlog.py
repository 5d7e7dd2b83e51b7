"""Backlog: work that starts when a user queues it, and ends when a user accepts its result."""

import pytest

from greenroom.domain.errors import Conflict, InvalidTransition, Superseded, Unusable
from greenroom.domain.task import LATE_RESULTS_MAX, Task
from greenroom.service import rooms
from greenroom.wire import requests
from tests.service.house import House
from tests.service.team import claimed, said, standing


@pytest.fixture
def house() -> House:
    return standing()


def done(house: House, text: str = "there you are") -> Task:
    """A backlog item whose result was handed to the user."""
    item = house.queue(house.backlog("tidy up").id)
    held = claimed(house)
    assert item.id == held.id
    return house.complete(held.id, "A", held.attempt, text)


def attentions(house: House) -> list[str]:
    from_events: list[str] = []
    for event in house.events():
        if event.type == "attention.raised":
            from_events.append(event.data["key"])
        elif event.type == "attention.resolved":
            from_events.remove(event.data["key"])
    return from_events


def test_an_item_waits_in_the_backlog_until_it_is_queued(house: House) -> None:
    item = house.backlog("tidy up", to="reviewer")

    assert ("backlog", "backlog", "reviewer") == (item.status, item.origin, item.target_role)
    assert house.claim("reviewer", "R") is None
    assert [item.id] == [each.id for each in house.look().tasks]

    assert "pending" == house.queue(item.id).status
    again = claimed(house, "R", "reviewer")
    assert item.id == again.id
    assert ["task.opened", "task.queued", "task.claimed"] == [t for t in house.event_types() if t.startswith("task.")]


def test_it_goes_to_the_entry_role_unless_somebody_else_is_named(house: House) -> None:
    assert "builder" == house.backlog().target_role
    with pytest.raises(Unusable, match="no role"):
        house.backlog(to="nobody")


def test_a_full_room_lets_it_wait_and_promotes_it_in_its_turn(house: House) -> None:
    first = house.send().task
    assert first is not None
    item = house.queue(house.backlog().id)
    assert "queued" == item.status

    assert item.id == house.cancel(first.id).promoted
    assert "pending" == house.task(item.id).status


def test_its_result_waits_for_a_review_and_its_place_is_free(house: House) -> None:
    item = house.queue(house.backlog().id)
    waiting = house.send().task
    assert waiting is not None
    held = claimed(house)

    handed = house.complete(held.id, "A", 1, "there you are")

    assert ("pending_review", "there you are", 1) == (handed.status, handed.result, handed.accepted_attempt)
    assert (waiting.id, "pending") == (handed.promoted, house.task(waiting.id).status)
    assert [("user", "there you are")] == said(house)[1:]
    assert [f"review:{item.id}"] == attentions(house)
    assert house.beat("builder", "A").task is None
    again = claimed(house)
    assert waiting.id == again.id


def test_a_handoff_to_the_user_at_the_end_of_the_chain_is_reviewed_as_well(house: House) -> None:
    house.queue(house.backlog().id)
    held = claimed(house)
    handed = house.handoff(held.id, "A", 1, to="reviewer")
    assert "completed" == handed.status
    following = claimed(house, "R", "reviewer")
    assert "backlog" == following.origin

    assert "pending_review" == house.handoff(following.id, "R", 1, to="user", text="fine").status


def test_what_a_message_began_is_never_reviewed(house: House) -> None:
    house.send()
    held = claimed(house)
    assert "completed" == house.complete(held.id, "A", 1).status


def test_a_person_accepts_it(house: House) -> None:
    handed = done(house)
    accepted = house.accept(handed.id)

    assert ("completed", "there you are", 1) == (accepted.status, accepted.result, accepted.accepted_attempt)
    assert accepted.completed_at is not None
    assert [] == attentions(house)
    assert 1 == len(said(house)), "the result was sent to the user a second time"
    assert "task.completed" == [t for t in house.event_types() if t.startswith("task.")][-1]


def test_a_person_sends_it_back_and_the_next_holder_reads_why(house: House) -> None:
    handed = done(house)
    back = house.send_back(handed.id, reason="the door is still open")

    assert ("pending", None, None) == (back.status, back.result, back.accepted_attempt)
    assert [] == attentions(house)
    again = claimed(house)
    assert 2 == again.attempt
    assert ["the door is still open"] == [note.text for note in again.notes]
    assert [(1, "there you are")] == [(late.attempt, late.text) for late in again.late_results]
    assert "pending_review" == house.complete(again.id, "A", 2, "now it is shut").status
    assert "now it is shut" == house.accept(again.id).result


def test_what_was_sent_back_may_be_accepted_after_all(house: House) -> None:
    handed = done(house)
    house.send_back(handed.id)
    accepted = house.accept(handed.id, attempt=1)

    assert ("completed", "there you are", 1) == (accepted.status, accepted.result, accepted.accepted_attempt)


def test_what_waits_for_a_review_and_is_cancelled_may_be_accepted_after_all(house: House) -> None:
    handed = done(house)
    closed = house.cancel(handed.id, "no longer wanted")
    assert ("closed", None) == (closed.status, closed.result)
    assert [] == attentions(house)

    assert "there you are" == house.accept(handed.id, attempt=1).result


def test_sent_back_to_a_full_room_it_waits(house: House) -> None:
    handed = done(house)
    other = house.send().task
    assert other is not None

    back = house.send_back(handed.id)

    assert ("queued", None) == (back.status, back.promoted)
    assert back.id == house.cancel(other.id).promoted


def test_what_is_put_off_goes_back_to_the_backlog_and_makes_place(house: House) -> None:
    first, second = house.send().task, house.send().task
    assert first is not None
    assert second is not None

    put_off = house.send_back(first.id, reason="after the holidays")

    assert ("backlog", second.id) == (put_off.status, put_off.promoted)
    assert ["after the holidays"] == [note.text for note in put_off.notes]
    assert "backlog" == house.send_back(house.send().task.id).status  # type: ignore[union-attr]
    assert "queued" == house.queue(first.id).status


def test_it_is_sent_back_as_often_as_its_results_are_kept(house: House) -> None:
    task = done(house, "try 0").id
    for number in range(1, LATE_RESULTS_MAX + 1):
        house.send_back(task)
        again = house.claim("builder", "A")
        assert again is not None
        house.complete(task, "A", again.attempt, f"try {number}")
    before = house.task(task)
    with pytest.raises(Conflict, match=f"already has {LATE_RESULTS_MAX} late results"):
        house.send_back(task, reason="once more")
    assert before == house.task(task)
    assert "try 20" == house.accept(task).result


def test_only_what_waits_for_a_review_is_sent_back_to_be_done_again(house: House) -> None:
    task = house.send().task
    assert task is not None
    with pytest.raises(InvalidTransition):
        house.send_back(task.id, to="pending")
    house.claim("builder", "A")
    with pytest.raises(InvalidTransition):
        house.send_back(task.id)


def test_who_lost_a_task_by_silence_does_not_get_it_back_from_the_backlog(house: House) -> None:
    """A note may have been added meanwhile; the answer to a new claim has it."""
    task = house.send().task
    assert task is not None
    house.claim("builder", "A")
    house.pass_time(house.limits.heartbeat_ttl_s + house.limits.task_lost_after_s + 3)
    assert "lost" == house.task(task.id).released_cause
    house.send_back(task.id)
    house.queue(task.id)

    assert house.join("builder", "A").task is None
    again = claimed(house)
    assert 2 == again.attempt


def test_a_repeated_complete_is_answered_by_what_became_of_it(house: House) -> None:
    handed = done(house)
    assert handed == house.complete(handed.id, "A", 1, "there you are")

    house.accept(handed.id)
    assert "completed" == house.complete(handed.id, "A", 1, "there you are").status
    assert 1 == house.event_types().count("task.completed")


def test_repeated_after_it_was_sent_back_it_no_longer_counts(house: House) -> None:
    handed = done(house)
    house.send_back(handed.id)

    with pytest.raises(Superseded, match="no longer counts"):
        house.complete(handed.id, "A", 1, "there you are")

    assert ["there you are"] == [late.text for late in house.task(handed.id).late_results]


def test_a_closed_room_takes_nothing_and_a_room_with_a_backlog_is_not_closed(house: House) -> None:
    def close() -> None:
        house.write(lambda tx: rooms.close(house.world, tx, house.caller, "r", requests.Explain()))

    item = house.backlog()
    with pytest.raises(Conflict, match="still has work"):
        close()
    house.cancel(item.id)
    close()

    with pytest.raises(Conflict) as refused:
        house.backlog()
    assert "room_closed" == refused.value.code
