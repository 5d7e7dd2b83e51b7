"""Waiting for the first of several things, without a task for each."""

import asyncio

import pytest

from greenroom.server.wakeups import Flag, wait_any
from tests.waiting import PATIENCE_S


async def start_wait(*notices: Flag, timeout_s: float | None = None) -> "asyncio.Task[None]":
    """Start a wait, and return once it is registered with each notice."""
    task = asyncio.create_task(wait_any(*notices, timeout_s=timeout_s))
    has_started = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(has_started.set_result, None)  # Callbacks run in order: the task is first.
    await has_started
    assert all(notice._waiters for notice in notices)
    return task


def test_set_notice_ends_every_wait() -> None:
    async def wait() -> None:
        first_notice, second_notice = Flag(), Flag()
        first, second = await start_wait(first_notice, second_notice), await start_wait(second_notice)
        second_notice.set()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(first, second)
        assert (first_notice.is_set(), second_notice.is_set()) == (False, True)
        assert first_notice._waiters == second_notice._waiters == set()

    asyncio.run(wait())


def test_set_and_cleared_notice() -> None:
    async def wait() -> None:
        notice = Flag()
        notice.set()
        async with asyncio.timeout(PATIENCE_S):
            await wait_any(Flag(), notice)
        notice.clear()
        task = await start_wait(notice)
        assert not task.done()
        notice.set()
        notice.set()
        async with asyncio.timeout(PATIENCE_S):
            await task

    asyncio.run(wait())


@pytest.mark.parametrize("timeout_s", [0.0, 0.001])
def test_wait_timeout(timeout_s: float) -> None:
    async def wait() -> None:
        notice = Flag()
        async with asyncio.timeout(PATIENCE_S):
            await wait_any(notice, timeout_s=timeout_s)
        assert not notice.is_set()
        assert notice._waiters == set()

    asyncio.run(wait())


def test_cancelled_wait_is_removed() -> None:
    async def wait() -> None:
        notice = Flag()
        task = await start_wait(notice, timeout_s=PATIENCE_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert notice._waiters == set()
        notice.set()

    asyncio.run(wait())
