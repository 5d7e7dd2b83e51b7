"""Wakes coroutines on the event loop: flags, a broadcast after each commit, and the results of the writer's batches.

With asyncio's own Event, waiting for one of four takes four tasks, and each claim waits for four; so `Flag` and
`wait_any` replace it. The writer's thread calls `Broadcast.notify`, and many coroutines may wait: all calls that come
before the loop handles them cost one wake-up of the loop, however many coroutines wait, so the number of waiters does
not slow the writer down. Results are delivered with one wake-up for each batch.
"""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from greenroom.store.group_commit import Resolution
from greenroom.store.writer import resolve_all


class Flag:
    """A flag of one event loop. Only `is_set` may be called from another thread."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiters: set[asyncio.Future[None]] = set()

    def is_set(self) -> bool:
        """Return whether the flag is set."""
        return self._is_set

    def set(self) -> None:
        """Set the flag and wake everything that waits for it."""
        self._is_set = True
        for future in self._waiters:
            resolve_future(future)

    def clear(self) -> None:
        """Reset the flag."""
        self._is_set = False

    def add_waiter(self, future: "asyncio.Future[None]") -> None:
        """Resolve that future when the flag is set."""
        self._waiters.add(future)

    def remove_waiter(self, future: "asyncio.Future[None]") -> None:
        """Do not resolve that future any more."""
        self._waiters.discard(future)


class Broadcast:
    """A wake-up that any number of coroutines on one loop can wait for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._flag = Flag()
        self._lock = threading.Lock()
        self._is_scheduled = False

    def next_flag(self) -> Flag:
        """Return the flag of the next wake-up. Get it before reading the state: a later change sets it."""
        return self._flag

    def notify(self) -> None:
        """Wake all waiting coroutines. May be called from any thread."""
        with self._lock:
            if self._is_scheduled or self._loop.is_closed():
                return
            self._is_scheduled = True
        self._loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        with self._lock:
            self._is_scheduled = False
        flag, self._flag = self._flag, Flag()
        flag.set()


class ResultDelivery:
    """Resolves futures on the event loop or, before it runs and after it has ended, on the writer's own thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def deliver(self, resolutions: Sequence[Resolution]) -> None:
        """Have every future resolved; called on the writer's thread.

        Raises RuntimeError when the loop has just been closed.
        """
        loop = self._loop
        if loop is None:
            resolve_all(resolutions)
        else:
            loop.call_soon_threadsafe(resolve_all, resolutions)

    @contextmanager
    def attach(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Deliver to `loop` while the block runs."""
        self._loop = loop
        try:
            yield
        finally:
            self._loop = None


async def wait_any(*flags: Flag, timeout_s: float | None = None) -> None:
    """Wait until one of the flags is set, for at most `timeout_s` seconds (None: no limit)."""
    if any(flag.is_set() for flag in flags):
        return
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    for flag in flags:
        flag.add_waiter(future)
    timer = loop.call_later(timeout_s, resolve_future, future) if timeout_s is not None else None
    try:
        await future
    finally:
        for flag in flags:
            flag.remove_waiter(future)
        if timer is not None:
            timer.cancel()


def resolve_future(future: "asyncio.Future[None]") -> None:
    """Resolve a future, unless it is done already."""
    if not future.done():
        future.set_result(None)
