"""Keeps the newest committed events in memory for the readers of event streams."""

import threading
from collections import deque
from collections.abc import Sequence

from greenroom.domain.event import Event


class Feed:
    """A buffer of the last `kept_max` events in commit order. A reader that is further behind reads from the store.

    Safe to use from several threads.
    """

    def __init__(self, kept_max: int, last_pos: int) -> None:
        self._events: deque[Event] = deque(maxlen=kept_max)
        self._lock = threading.Lock()
        self._complete_after = last_pos
        self.last_pos = last_pos

    def publish(self, events: Sequence[Event]) -> None:
        """Append the events of a commit, in commit order."""
        with self._lock:
            overflow_count = len(self._events) + len(events) - (self._events.maxlen or 0)
            self._events.extend(events)
            if overflow_count > 0:
                self._complete_after = self._events[0].pos - 1
            self.last_pos = events[-1].pos

    def after(self, pos: int, limit: int) -> list[Event] | None:
        """Up to `limit` events after position `pos`; None when the buffer no longer has all of them."""
        with self._lock:
            if pos < self._complete_after:
                return None
            if not self._events or pos >= self._events[-1].pos:
                return []
            first = pos + 1 - self._events[0].pos
            return [self._events[index] for index in range(first, min(len(self._events), first + limit))]
