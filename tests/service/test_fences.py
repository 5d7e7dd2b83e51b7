"""An agent's write counts only for the participant and attempt that it names, and its calls renew the lease."""

from collections.abc import Callable
from typing import Any

import pytest

from greenroom.domain.errors import InvalidTransition, Superseded
from greenroom.service import messages, presence, sweeping, tasks
from greenroom.store.transaction import Transaction
from greenroom.wire import requests
from tests.service.house import House

Write = Callable[[House, str, str, int], Any]

WRITES: dict[str, Write] = {
    "start": lambda house, task, connection, attempt: house.start(task, connection, attempt),
    "quarantine": lambda house, task, connection, attempt: house.decline(task, connection, attempt),
    "complete": lambda house, task, connection, attempt: house.complete(task, connection, attempt),
    "hand off": lambda house, task, connection, attempt: house.handoff(task, connection, attempt, "reviewer"),
}


@pytest.fixture
def house() -> House:
    made = House()
    made.room()
    made.join("builder", "A")
    return made


def open_task(house: House) -> str:
    task = house.send().task
    assert task is not None
    return task.id


@pytest.mark.parametrize("how", WRITES)
def test_nobody_works_on_what_was_never_claimed(house: House, how: str) -> None:
    task = open_task(house)

    with pytest.raises(InvalidTransition) as refused:
        WRITES[how](house, task, "A", 1)

    assert ("pending", "complete" if how == "hand off" else how) == (refused.value.current, refused.value.attempted)
    assert "pending" == house.task(task).status


@pytest.mark.parametrize("how", WRITES)
@pytest.mark.parametrize(("connection", "attempt"), [("A", 2), ("B", 1), ("B", 2)])
def test_nobody_else_writes_and_nothing_of_theirs_is_kept(
    house: House, how: str, connection: str, attempt: int
) -> None:
    task = open_task(house)
    house.claim("builder", "A")
    before, events = house.task(task), house.event_types()

    with pytest.raises(Superseded):
        WRITES[how](house, task, connection, attempt)

    assert (before, events) == (house.task(task), house.event_types())


def test_an_accepted_attempt_is_answered_again_and_what_it_says_otherwise_is_kept(house: House) -> None:
    task = open_task(house)
    house.claim("builder", "A")
    first = house.handoff(task, "A", 1, "reviewer", "look at it")

    assert first == house.handoff(task, "A", 1, "reviewer", "look at it")
    assert "look at it" == house.handoff(task, "A", 1, "reviewer", "look twice").result
    with pytest.raises(Superseded):
        house.complete(task, "A", 1, "it is done")

    kept = [(each.to, each.text) for each in house.task(task).late_results]
    assert [("reviewer", "look twice"), ("user", "it is done")] == kept
    assert 1 == house.event_types().count("task.completed")


def test_a_message_under_an_attempt_is_of_that_attempt(house: House) -> None:
    def say(attempt: int) -> None:
        body = requests.SendMessage(sender="builder", text="half way", connection_id="A", attempt=attempt)
        house.write(lambda tx: messages.send(house.world, tx, house.caller, "r", body))

    task = open_task(house)
    house.claim("builder", "A")
    say(1)
    with pytest.raises(Superseded):
        say(2)

    house.complete(task, "A", 1)
    with pytest.raises(Superseded):
        say(1)


def test_a_call_that_is_answered_in_the_batch_of_the_sweep_saves_the_seat(house: House) -> None:
    """Both are in one commit: after an `ok` the lease that the call renewed must not expire."""
    task = open_task(house)

    def join(tx: Transaction) -> None:
        presence.join(house.world, tx, house.caller, "r", "builder", requests.Join(connection_id="A"))

    def claim(tx: Transaction) -> None:
        tasks.claim(
            house.world, tx, house.caller, "r", requests.Claim(role="builder", connection_id="A", hand_over=True)
        )

    def start(tx: Transaction) -> None:
        tasks.start(house.world, tx, house.caller, task, requests.OnAttempt(connection_id="A", attempt=1))

    key = next(iter(house.world.leases.seats))
    for call in (join, claim, start):
        house.clock.move(house.world.leases.seats[key].length_s + 0.1)

        def together(tx: Transaction, call: Callable[[Transaction], None] = call) -> None:
            call(tx)
            sweeping.expire(house.world, tx, key)

        house.write(together)

        assert ["A"] == [each.connection_id for each in house.look().participants], call.__name__
        assert "ok" == house.beat("builder", "A").status
