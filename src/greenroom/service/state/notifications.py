"""Notifies the waiters of a commit, and keeps the newest committed events in memory for the readers of event streams.

A waiter watches a key; its callback is called after each commit in which the thing with that key changed.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence

from greenroom.domain.event import Event
from greenroom.service.state.thread_rules import Locked

EVENTS_KEY = "feed"


class Notifications(Locked):
    """Callbacks by key. A callback runs in the thread that calls `notify`, and must do no more than wake a waiter."""

    def __init__(self) -> None:
        self._watchers: dict[str, dict[int, Callable[[], None]]] = {}
        self._lock = threading.Lock()
        self._next = 0

    def watch(self, key: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` on every `notify` of `key`, until the returned function is called."""
        with self._lock:
            self._next += 1
            number = self._next
            self._watchers.setdefault(key, {})[number] = callback

        def unwatch() -> None:
            with self._lock:
                watchers = self._watchers.get(key)
                if watchers is not None:
                    watchers.pop(number, None)
                    if not watchers:
                        del self._watchers[key]

        return unwatch

    def notify(self, key: str) -> None:
        """Call every callback that watches `key`."""
        with self._lock:
            callbacks = list(self._watchers.get(key, {}).values())
        for callback in callbacks:
            callback()


class EventBuffer(Locked):
    """A buffer of the last `kept_max` events in commit order. A reader that is further behind reads from the store."""

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

    def read_after(self, pos: int, limit: int) -> list[Event] | None:
        """Up to `limit` events after position `pos`; None when the buffer no longer has all of them."""
        with self._lock:
            if pos < self._complete_after:
                return None
            if not self._events or pos >= self._events[-1].pos:
                return []
            first = pos + 1 - self._events[0].pos
            return [self._events[index] for index in range(first, min(len(self._events), first + limit))]


def claim_key(room: str, role: str) -> str:
    """The key for standing claims: a task or the participant of the role changed. `room` is the room's id."""
    return f"claim:{room}/{role}"


def assignments_key(machine: str) -> str:
    """The key for daemons: the assignments of the machine changed."""
    return f"assignments:{machine}"
