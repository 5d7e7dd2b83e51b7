"""After an upgrade the service continues where the first version stopped: with its room, its agents and its tasks."""

from collections.abc import Callable, Iterator

import pytest

from greenroom.clock import MovedClock
from greenroom.domain.caller import THE_OPERATOR
from greenroom.domain.reliability import Reliability
from greenroom.entropy import SeededEntropy
from greenroom.store.store import Store
from tests.contract.aged import Place
from tests.service.house import House

ROOM, TILL, OVEN = "shop", "till", "oven"


class OldHouse(House):
    """The in-process service on an existing store."""

    def __init__(self, store: Store, clock: MovedClock) -> None:
        self.clock, self.store, self.limits = clock, store, Reliability()
        self.entropy = SeededEntropy(11)
        self.caller = THE_OPERATOR
        self.open()


@pytest.fixture
def house(empty: Callable[[str], Place]) -> Iterator[OldHouse]:
    place, clock = empty("old"), MovedClock()
    place.make_first()
    store = place.open(clock)
    yield OldHouse(store, clock)
    store.close()


def test_what_was_pending_is_claimed_and_done(house: OldHouse) -> None:
    pending = [task for task in house.look(ROOM).tasks if task.status == "pending"]
    assert [task.text for task in pending] == ["left pending", "wait 0", "wait 1"]

    house.join(TILL, "c3", ROOM)
    claimed = house.claim(TILL, "c3", ROOM)

    assert claimed is not None
    assert (claimed.id, claimed.attempt) == (pending[0].id, pending[0].attempt + 1)
    house.start(claimed.id, "c3", claimed.attempt)
    assert house.complete(claimed.id, "c3", claimed.attempt).status == "completed"


def test_who_was_at_work_goes_on_and_finishes(house: OldHouse) -> None:
    [held] = [task for task in house.look(ROOM).tasks if task.status == "in_progress"]

    assert house.beat(OVEN, "c2", ROOM).status == "ok"
    assert house.complete(held.id, "c2", held.attempt, "out of the oven").result == "out of the oven"


def test_a_call_from_before_is_answered_as_the_first_time(house: OldHouse) -> None:
    done = next(event.data["task"] for event in house.events() if event.type == "task.completed")
    before = house.task(done)
    [handed] = [event for event in house.events() if event.type == "task.completed" and event.data["task"] == done]

    assert before.accepted_attempt == before.attempt == handed.data["attempt"]
    assert house.handoff(done, "c1", before.attempt, OVEN, "bake it") == before


def test_new_rows_are_numbered_on(house: OldHouse) -> None:
    numbers = [(event.pos, event.seq) for event in house.events()]
    sent = house.send("one more", None, ROOM)

    assert [task.text for task in house.look(ROOM).tasks][-1] == "one more"
    assert sent.task is not None
    poses = [event.pos for event in house.events()]
    assert poses == list(range(1, len(poses) + 1))
    assert len(poses) > len(numbers)
