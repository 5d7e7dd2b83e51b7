"""Waiting for the first of several things, without a task for each."""

import asyncio

import pytest

from greenroom.server.notice import Notice, wait_any
from tests.waiting import PATIENCE_S


async def waiting(*notices: Notice, timeout_s: float | None = None) -> "asyncio.Task[None]":
    """Start a wait, and return once it is registered with each notice."""
    task = asyncio.create_task(wait_any(*notices, timeout_s=timeout_s))
    begun = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(begun.set_result, None)  # Callbacks run in order: the task is first.
    await begun
    assert all(notice._waiting for notice in notices)
    return task


def test_any_of_them_ends_every_wait_for_it() -> None:
    async def story() -> None:
        one, other = Notice(), Notice()
        first, second = await waiting(one, other), await waiting(other)
        other.set()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(first, second)
        assert (one.is_set(), other.is_set()) == (False, True)
        assert one._waiting == other._waiting == set()

    asyncio.run(story())


def test_what_is_set_is_not_waited_for_and_what_was_cleared_is() -> None:
    async def story() -> None:
        notice = Notice()
        notice.set()
        async with asyncio.timeout(PATIENCE_S):
            await wait_any(Notice(), notice)
        notice.clear()
        task = await waiting(notice)
        assert not task.done()
        notice.set()
        notice.set()
        async with asyncio.timeout(PATIENCE_S):
            await task

    asyncio.run(story())


@pytest.mark.parametrize("timeout_s", [0.0, 0.001])
def test_a_wait_has_an_end(timeout_s: float) -> None:
    async def story() -> None:
        notice = Notice()
        async with asyncio.timeout(PATIENCE_S):
            await wait_any(notice, timeout_s=timeout_s)
        assert not notice.is_set()
        assert notice._waiting == set()

    asyncio.run(story())


def test_who_stops_waiting_is_forgotten() -> None:
    async def story() -> None:
        notice = Notice()
        task = await waiting(notice, timeout_s=PATIENCE_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert notice._waiting == set()
        notice.set()

    asyncio.run(story())
