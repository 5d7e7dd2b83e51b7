"""A connection that is cut between any two messages of a batch: no write is lost or repeated, and each is reported."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from greenroom.domain.errors import StoreUnavailable
from greenroom.store.transaction import Transaction
from tests.contract.hosted import Closing, Heard, still
from tests.contract.scissors import Scissors, Way
from tests.contract.things import COUNT, everything, names, putting

MESSAGES_MIN = 50


@pytest.fixture
def scissors(url: str) -> Iterator[Scissors]:
    made = Scissors(url)
    yield made
    made.close()


def told_by(told: list[str], name: str, *, looks: bool = False) -> Any:
    def mutation(transaction: Transaction) -> str:
        transaction.after_commit(lambda: told.append(f"{name} done"))
        transaction.if_abandoned(lambda: told.append(f"{name} not"))
        putting(name)(transaction)
        if looks:
            assert transaction.row(COUNT)
        return name

    return mutation


@pytest.mark.parametrize("is_half", [False, True])
@pytest.mark.parametrize("way", ["out", "in"])
def test_wherever_the_line_is_cut_each_hears_what_came_of_it(
    url: str, scissors: Scissors, closing: Closing, way: Way, is_half: bool
) -> None:
    heard, there = Heard(), list[str]()
    store = closing(still(scissors.url, heard))
    for number in count():
        told: list[str] = []
        good = [f"{number:03}{letter}" for letter in "abc"]
        store.run(lambda transaction: None)  # opens a session
        scissors.cut_after(way, number, is_half=is_half)
        mutations = [told_by(told, name, looks=name.endswith("b")) for name in good]
        *futures, bad = store.writer.run_batch([*mutations, putting("bad", size=-1)])
        was_cut = scissors.put_away()

        errors = [future.exception() for future in futures]
        if errors == [None, None, None]:
            there += good
            assert told == [f"{name} done" for name in good]
            assert type(bad.exception()).__name__ == "CheckViolation"
        else:
            for error in (*errors, bad.exception()):
                assert isinstance(error, StoreUnavailable)
                assert "Nothing was written" in error.guidance
            assert told == [f"{name} not" for name in good][: len(told)]
        assert names(store) == there
        assert heard == everything(store)
        assert [event.pos for event in heard] == [*range(1, len(there) + 1)]
        if not was_cut:
            break
    assert number > MESSAGES_MIN
    assert len(there) > 3, "no cut came after COMMIT"
