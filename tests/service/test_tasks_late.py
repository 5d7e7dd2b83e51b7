"""A late result is kept, does not count by itself, and may be accepted by a user."""

import pytest

from greenroom.domain.errors import Conflict, InvalidTransition, NotKept, Superseded
from greenroom.domain.task import LATE_RESULTS_MAX
from greenroom.service import rooms
from greenroom.wire import requests
from tests.service.house import House
from tests.service.team import claimed, opened, said, standing


@pytest.fixture
def house() -> House:
    return standing()


def given_away(house: House, result: str | None = "what A had", to: str = "user") -> str:
    """A task that B holds as attempt 2, with a late result of A for attempt 1."""
    task = opened(house)
    claimed(house)
    house.join("builder", "B")
    house.pass_time(house.limits.takeover_grace_s + 2)
    assert 2 == claimed(house, "B").attempt
    if result is not None:
        with pytest.raises(Superseded):
            house.handoff(task, "A", 1, to=to, text=result)
    return task


def late(house: House, task: str) -> list[tuple[int, str, str]]:
    return [(each.attempt, each.connection_id, each.text) for each in house.task(task).late_results]


def test_it_is_kept_whatever_became_of_the_task(house: House) -> None:
    for end in (house.reset, house.cancel, lambda task: house.decline(task, "A", 1)):
        task = opened(house)
        claimed(house)
        end(task)
        status = house.task(task).status
        with pytest.raises(Superseded, match=status) as refused:
            house.complete(task, "A", 1, "what I had")
        assert "kept as a late result" in refused.value.guidance
        assert [(1, "A", "what I had")] == late(house, task)
        if status != "closed":
            house.cancel(task)


@pytest.mark.parametrize("end", ["cancel", "reset", "accept"])
def test_what_a_person_decides_reaches_the_holder_with_its_next_beat(house: House, end: str) -> None:
    house.register()
    house.wish("builder")
    house.beat_machine()
    task = given_away(house)
    house.beat_machine(("builder", "B"))
    assert [task] == [each.task.id for each in house.beat_machine(("builder", "B")).agents if each.task]

    {"cancel": house.cancel, "reset": house.reset, "accept": lambda id: house.accept(id, attempt=1)}[end](task)

    assert [("ok", None)] == [(each.status, each.task) for each in house.beat_machine(("builder", "B")).agents]
    assert ("ok", None) == ((beat := house.beat("builder", "B")).status, beat.task)


def test_it_says_why_the_task_was_closed(house: House) -> None:
    task = opened(house)
    claimed(house)
    house.cancel(task, "the customer left")
    with pytest.raises(Superseded, match="the customer left"):
        house.complete(task, "A", 1)


def test_only_who_really_had_the_attempt_has_late_results(house: House) -> None:
    """B is in the role as A was, but attempt 1 was never its own."""
    task = given_away(house, result=None)
    for connection, attempt in (("B", 1), ("A", 2), ("R", 1), ("nobody", 1), ("A", 7)):
        with pytest.raises(Superseded) as refused:
            house.complete(task, connection, attempt, "not mine")
        assert "kept" not in refused.value.guidance
    assert [] == late(house, task)


def test_who_had_an_attempt_is_known_after_others_came_and_after_a_restart(house: House) -> None:
    task = given_away(house, result=None)
    house.reset(task)
    assert 3 == claimed(house, "B").attempt
    house.open()

    for connection, attempt in (("A", 1), ("B", 2)):
        with pytest.raises(Superseded):
            house.complete(task, connection, attempt, f"of {connection}")

    assert [(1, "A", "of A"), (2, "B", "of B")] == late(house, task)


def test_the_new_holder_reads_it_and_is_not_disturbed(house: House) -> None:
    task = given_away(house)
    assert ["what A had"] == [each.text for each in claimed(house, "B").late_results]
    assert "what B had" == house.complete(task, "B", 2, "what B had").result


def test_a_person_takes_it_from_a_present_holder(house: House) -> None:
    task = given_away(house)
    house.claim("builder", "B", hand_over=True)
    waiting = opened(house)

    accepted = house.accept(task, attempt=1)

    assert ("completed", "what A had", 1, 2) == (
        accepted.status,
        accepted.result,
        accepted.accepted_attempt,
        accepted.attempt,
    )
    assert waiting == accepted.promoted
    assert ("user", "what A had") == said(house)[-1]
    assert house.beat("builder", "B").task is None
    house.pass_time(house.limits.heartbeat_ttl_s + 2)
    assert "B" not in [each.connection_id for each in house.look().participants], (
        "its lease is still as long as that of an agent at work"
    )


def test_the_holder_whose_task_was_taken_is_told_and_what_it_had_is_kept(house: House) -> None:
    task = given_away(house)
    house.accept(task, attempt=1)

    with pytest.raises(Superseded):
        house.complete(task, "B", 2, "what B had")

    assert [(1, "A", "what A had"), (2, "B", "what B had")] == late(house, task)
    assert "what A had" == house.task(task).result
    with pytest.raises(InvalidTransition):
        house.accept(task, attempt=2)


def test_repeated_by_the_attempt_whose_late_result_was_taken_it_is_answered_with_the_task(house: House) -> None:
    task = given_away(house)
    house.accept(task, attempt=1)
    assert house.task(task) == house.complete(task, "A", 1, "what A had")


def test_a_late_handoff_that_is_taken_opens_the_next_roles_task(house: House) -> None:
    task = given_away(house, to="reviewer")

    accepted = house.accept(task, attempt=1)

    assert accepted.next_task is not None
    following = house.task(accepted.next_task)
    assert ("pending", "reviewer", "what A had", task) == (
        following.status,
        following.target_role,
        following.text,
        following.request,
    )
    assert ("reviewer", "what A had") == said(house)[-1]


@pytest.mark.parametrize("apart", ["closed", "quarantined"])
def test_taken_where_the_task_had_no_place_the_next_one_waits_for_a_place(house: House, apart: str) -> None:
    task = opened(house)
    claimed(house)
    if apart == "closed":
        house.cancel(task)
    else:
        house.decline(task, "A", 1)
    with pytest.raises(Superseded):
        house.handoff(task, "A", 1, to="reviewer", text="after all")
    other = opened(house)

    accepted = house.accept(task, attempt=1)

    assert accepted.next_task is not None
    assert ("completed", "queued") == (accepted.status, house.task(accepted.next_task).status)
    assert accepted.next_task == house.cancel(other).promoted


def test_the_newest_one_of_an_attempt_is_taken(house: House) -> None:
    task = given_away(house, "first")
    for text in ("second", "third"):
        with pytest.raises(Superseded):
            house.complete(task, "A", 1, text)
    assert "third" == house.accept(task, attempt=1).result


def test_there_has_to_be_one(house: House) -> None:
    task = given_away(house)
    with pytest.raises(Conflict, match="No result waits for a review"):
        house.accept(task)
    with pytest.raises(Conflict, match="no late result of attempt 2") as refused:
        house.accept(task, attempt=2)
    assert "by its attempt (1)" in refused.value.guidance


def test_a_request_that_goes_on_elsewhere_does_not_get_a_second_result(house: House) -> None:
    task = opened(house)
    claimed(house)
    house.decline(task, "A", 1)
    with pytest.raises(Superseded):
        house.complete(task, "A", 1, "after all")
    sent = house.retry(task, to="reviewer").next_task
    assert sent is not None

    with pytest.raises(Conflict, match=sent):
        house.accept(task, attempt=1)
    house.cancel(sent)
    assert "after all" == house.accept(task, attempt=1).result


def test_in_a_closed_room_it_may_be_taken_unless_it_opens_work(house: House) -> None:
    first, second = opened(house), None
    claimed(house)
    house.cancel(first)
    with pytest.raises(Superseded):
        house.complete(first, "A", 1, "for the user")
    second = opened(house)
    claimed(house)
    house.cancel(second)
    with pytest.raises(Superseded):
        house.handoff(second, "A", 1, to="reviewer", text="for the reviewer")
    house.write(lambda tx: rooms.close(house.world, tx, house.caller, "r", requests.Explain()))

    assert "for the user" == house.accept(first, attempt=1).result
    with pytest.raises(Conflict) as refused:
        house.accept(second, attempt=1)
    assert "room_closed" == refused.value.code
    assert "closed" == house.task(second).status


def test_a_task_keeps_so_many_and_says_what_became_of_one_more(house: House) -> None:
    task = given_away(house, result=None)
    for number in range(LATE_RESULTS_MAX):
        with pytest.raises(Superseded):
            house.complete(task, "A", 1, f"try {number}")
    with pytest.raises(Superseded) as refused:
        house.complete(task, "A", 1, "one more")
    assert "in place of the oldest one of this attempt" in refused.value.guidance
    texts = [text for _, _, text in late(house, task)]
    assert [*(f"try {number}" for number in range(1, LATE_RESULTS_MAX)), "one more"] == texts

    house.reset(task)
    with pytest.raises(NotKept) as refused:
        house.complete(task, "B", 2, "of another attempt")
    assert "NOT kept" in refused.value.guidance
    assert texts == [text for _, _, text in late(house, task)], "a late result of another attempt was dropped"
