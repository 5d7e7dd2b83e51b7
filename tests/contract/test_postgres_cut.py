"""A connection that is cut between any two messages of a batch: no write is lost or repeated, and each is reported."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from greenroom.domain.errors import StoreUnavailable
from greenroom.store.transaction import Transaction
from tests.contract.cutting_proxy import CuttingProxy, Direction
from tests.contract.postgres_stores import CloseLater, PublishedEvents, open_threadless
from tests.contract.things_table import COUNT, add_thing_deferred, all_events, thing_names

MESSAGES_MIN = 50


@pytest.fixture
def proxy(url: str) -> Iterator[CuttingProxy]:
    opened = CuttingProxy(url)
    yield opened
    opened.close()


def add_with_callbacks(calls: list[str], name: str, *, reads: bool = False) -> Any:
    def mutation(transaction: Transaction) -> str:
        transaction.on_commit(lambda: calls.append(f"{name} done"))
        transaction.on_rollback(lambda: calls.append(f"{name} not"))
        add_thing_deferred(name)(transaction)
        if reads:
            assert transaction.row(COUNT)
        return name

    return mutation


@pytest.mark.parametrize("client_only", [False, True])
@pytest.mark.parametrize("direction", ["out", "in"])
def test_cut_between_any_two_messages(
    url: str, proxy: CuttingProxy, close_later: CloseLater, direction: Direction, client_only: bool
) -> None:
    published, expected = PublishedEvents(), list[str]()
    store = close_later(open_threadless(proxy.url, published))
    for number in count():
        calls: list[str] = []
        good = [f"{number:03}{letter}" for letter in "abc"]
        store.run(lambda transaction: None)  # opens a session
        proxy.cut_after(direction, number, client_only=client_only)
        mutations = [add_with_callbacks(calls, name, reads=name.endswith("b")) for name in good]
        *futures, bad = store.writer.run_batch([*mutations, add_thing_deferred("bad", size=-1)])
        was_cut = proxy.cancel_cut()

        errors = [future.exception() for future in futures]
        if errors == [None, None, None]:
            expected += good
            assert calls == [f"{name} done" for name in good]
            assert type(bad.exception()).__name__ == "CheckViolation"
        else:
            for error in (*errors, bad.exception()):
                assert isinstance(error, StoreUnavailable)
                assert "Nothing was written" in error.guidance
            assert calls == [f"{name} not" for name in good][: len(calls)]
        assert thing_names(store) == expected
        assert published == all_events(store)
        assert [event.pos for event in published] == [*range(1, len(expected) + 1)]
        if not was_cut:
            break
    assert number > MESSAGES_MIN
    assert len(expected) > 3, "no cut came after COMMIT"
