"""Wakes all coroutines on the event loop that wait for a commit.

The writer's thread calls `ring`, and many coroutines may wait. All calls that come before the loop gets to handle them
cost one wake-up of the loop, however many coroutines wait, so the number of waiters does not slow the writer down.
"""

import asyncio
import threading

from greenroom.server.notice import Notice


class Bell:
    """A wake-up that any number of coroutines on one loop can wait for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._flag = Notice()
        self._lock = threading.Lock()
        self._is_scheduled = False

    def next(self) -> Notice:
        """Return the flag of the next wake-up. Get it before reading the state: a later change sets it."""
        return self._flag

    def ring(self) -> None:
        """Wake all waiting coroutines. May be called from any thread."""
        with self._lock:
            if self._is_scheduled or self._loop.is_closed():
                return
            self._is_scheduled = True
        self._loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        with self._lock:
            self._is_scheduled = False
        flag, self._flag = self._flag, Notice()
        flag.set()
