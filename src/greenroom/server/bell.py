"""Wakes everything on the event loop that waits for something committed. Must not know what was committed.

The writer's thread rings; many may wait. One ring costs one wake-up of the loop however many wait and however many
rings came before the loop got round to it, so the writer never pays for its listeners.
"""

import asyncio
import threading

from greenroom.server.notice import Notice


class Bell:
    """A wake-up that anyone on the loop may wait for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._next = Notice()
        self._lock = threading.Lock()
        self._is_ringing = False

    def next(self) -> Notice:
        """The next ring. Take it before looking: what comes after the look then sets it."""
        return self._next

    def ring(self) -> None:
        """Wake who waits, from any thread."""
        with self._lock:
            if self._is_ringing or self._loop.is_closed():
                return
            self._is_ringing = True
        self._loop.call_soon_threadsafe(self._sound)

    def _sound(self) -> None:
        with self._lock:
            self._is_ringing = False
        rung, self._next = self._next, Notice()
        rung.set()
