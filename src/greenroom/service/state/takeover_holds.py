"""The table of takeover holds, in memory only: a restart of the server sets new ones.

A hold is added while the takeover is being written, so that no claim of the same batch precedes it. It is removed after
commits, by heartbeats and by the sweep.
"""

import threading
from collections.abc import Callable, Collection

import msgspec

from greenroom.domain.lease import extend_deadline
from greenroom.domain.takeover import TakeoverHold, is_stopped_by
from greenroom.service.state.thread_rules import Locked


class TakeoverHolds(Locked):
    """At most one hold for each task."""

    def __init__(self) -> None:
        self._holds: dict[str, TakeoverHold] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._holds)

    def add(self, hold: TakeoverHold) -> None:
        """Hold a task."""
        with self._lock:
            self._holds[hold.task] = hold

    def remove(self, hold: TakeoverHold) -> None:
        """Remove a hold whose transaction was rolled back, unless a newer hold has replaced it."""
        with self._lock:
            if self._holds.get(hold.task) is hold:
                del self._holds[hold.task]

    def is_held(self, task: str) -> bool:
        """Whether the task may not be claimed yet."""
        return task in self._holds

    def get_longest(self, room: str, role: str) -> TakeoverHold | None:
        """The hold that a role waits for: the one that lasts longest. None if there is none."""
        if not self._holds:
            return None
        found = [hold for hold in self._snapshot() if (hold.room, hold.role) == (room, role)]
        return max(found, key=lambda hold: hold.until, default=None)

    def release_for(self, room: str, role: str, connection: str, task: str | None) -> list[TakeoverHold]:
        """Remove and return the holds for a connection that has stopped: all of them, or only that of one task."""
        return self._remove(
            lambda hold: (
                (hold.room, hold.role, hold.connection) == (room, role, connection) and task in (None, hold.task)
            )
        )

    def release_dropped(self, machine: str, named: Collection[tuple[str, str, str]]) -> list[TakeoverHold]:
        """Remove and return the holds for agents of a machine that are not in `named`, as (room, role, connection)."""
        return self._remove(lambda hold: is_stopped_by(hold, machine, named))

    def release_due(self, now: float) -> list[TakeoverHold]:
        """Remove and return the holds whose time is over."""
        return self._remove(lambda hold: hold.until <= now)

    def extend_all(self, now: float, grace_s: float) -> None:
        """Extend every hold to at least `grace_s` from `now`, after an absence of the server."""
        with self._lock:
            for task, hold in self._holds.items():
                self._holds[task] = msgspec.structs.replace(hold, until=extend_deadline(hold.until, grace_s, now))

    def _snapshot(self) -> list[TakeoverHold]:
        with self._lock:
            return [*self._holds.values()]

    def _remove(self, matches: Callable[[TakeoverHold], bool]) -> list[TakeoverHold]:
        if not self._holds:
            return []
        with self._lock:
            removed = [hold for hold in self._holds.values() if matches(hold)]
            for hold in removed:
                del self._holds[hold.task]
        return removed
