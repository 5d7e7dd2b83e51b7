"""The guards over tasks that were taken over. Memory only: a restart puts fresh ones. Must not know the store.

A guard is put while the takeover is being written, so that no claim of the same batch comes before it; it is lifted
after commits, by beats and by the sweep.
"""

import threading
from collections.abc import Callable, Collection

import msgspec

from greenroom.domain.lease import extended
from greenroom.domain.takeover import Guard, is_dropped


class Guards:
    """At most one guard for each task."""

    def __init__(self) -> None:
        self._of: dict[str, Guard] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._of)

    def put(self, guard: Guard) -> None:
        """Hold a task back."""
        with self._lock:
            self._of[guard.task] = guard

    def drop(self, guard: Guard) -> None:
        """Take a guard back as if it had never been put."""
        with self._lock:
            if self._of.get(guard.task) is guard:
                del self._of[guard.task]

    def holds_back(self, task: str) -> bool:
        """Tell whether nobody may claim the task yet."""
        return task in self._of

    def over(self, room: str, role: str) -> Guard | None:
        """The guard for which a role waits, if there is one: that which lasts longest."""
        if not self._of:
            return None
        found = [guard for guard in self._every() if (guard.room, guard.role) == (room, role)]
        return max(found, key=lambda guard: guard.until, default=None)

    def lift_for(self, room: str, role: str, connection: str, task: str | None) -> list[Guard]:
        """Lift what is held back for the sake of a connection that has stopped: its work, or only that on one task."""
        return self._lift(
            lambda guard: (
                (guard.room, guard.role, guard.connection) == (room, role, connection) and task in (None, guard.task)
            )
        )

    def lift_dropped(self, machine: str, named: Collection[tuple[str, str, str]]) -> list[Guard]:
        """Lift what is held back for agents that a machine's beat names no more as (room, role, connection)."""
        return self._lift(lambda guard: is_dropped(guard, machine, named))

    def lift_due(self, now: float) -> list[Guard]:
        """Lift what was held back for long enough."""
        return self._lift(lambda guard: guard.until <= now)

    def extend_all(self, now: float, grace_s: float) -> None:
        """Count everything anew after an absence of the server: nobody could be heard."""
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
