"""The table of takeover holds, in memory only: a restart of the server sets new ones.

A hold is added while the takeover is being written, so that no claim of the same batch precedes it. It is removed after
commits, by heartbeats and by the sweep.
"""

import threading
from collections.abc import Callable, Collection

import msgspec

from greenroom.domain.lease import extended
from greenroom.domain.takeover import Guard, is_dropped


class Guards:
    """At most one hold for each task. Safe to use from several threads."""

    def __init__(self) -> None:
        self._of: dict[str, Guard] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._of)

    def put(self, guard: Guard) -> None:
        """Hold a task."""
        with self._lock:
            self._of[guard.task] = guard

    def drop(self, guard: Guard) -> None:
        """Remove a hold whose transaction was rolled back, unless a newer hold has replaced it."""
        with self._lock:
            if self._of.get(guard.task) is guard:
                del self._of[guard.task]

    def holds_back(self, task: str) -> bool:
        """Whether the task may not be claimed yet."""
        return task in self._of

    def over(self, room: str, role: str) -> Guard | None:
        """The hold that a role waits for: the one that lasts longest. None if there is none."""
        if not self._of:
            return None
        found = [guard for guard in self._every() if (guard.room, guard.role) == (room, role)]
        return max(found, key=lambda guard: guard.until, default=None)

    def lift_for(self, room: str, role: str, connection: str, task: str | None) -> list[Guard]:
        """Remove and return the holds for a connection that has stopped: all of them, or only that of one task."""
        return self._lift(
            lambda guard: (
                (guard.room, guard.role, guard.connection) == (room, role, connection) and task in (None, guard.task)
            )
        )

    def lift_dropped(self, machine: str, named: Collection[tuple[str, str, str]]) -> list[Guard]:
        """Remove and return the holds for agents of a machine that are not in `named`, as (room, role, connection)."""
        return self._lift(lambda guard: is_dropped(guard, machine, named))

    def lift_due(self, now: float) -> list[Guard]:
        """Remove and return the holds whose time is over."""
        return self._lift(lambda guard: guard.until <= now)

    def extend_all(self, now: float, grace_s: float) -> None:
        """Extend every hold to at least `grace_s` from `now`, after an absence of the server."""
        with self._lock:
            for task, guard in self._of.items():
                self._of[task] = msgspec.structs.replace(guard, until=extended(guard.until, grace_s, now))

    def _every(self) -> list[Guard]:
        with self._lock:
            return [*self._of.values()]

    def _lift(self, is_over: Callable[[Guard], bool]) -> list[Guard]:
        if not self._of:
            return []
        with self._lock:
            lifted = [guard for guard in self._of.values() if is_over(guard)]
            for guard in lifted:
                del self._of[guard.task]
        return lifted
