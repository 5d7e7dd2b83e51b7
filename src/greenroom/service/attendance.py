"""Which roles have a task waiting and nobody who sits there, and since when. Memory only; must not know the store.

It is kept from what the log tells, as it is published, so that no round has to look for it.
"""

import threading
from collections.abc import Container, Iterable, Sequence
from itertools import takewhile

from greenroom.domain.event import Event
from greenroom.domain.task import PENDING

ROOM = "room:"
TASK = "task."
PARTICIPANT = "participant."


class Attendance:
    """Keys are those of seats: the room's id and the role's name."""

    def __init__(self) -> None:
        self._pending: dict[str, set[str]] = {}
        self._since: dict[str, float] = {}
        """Not told yet; oldest first, because a moment is noted when it has come.

        Whoever only sits down for a moment, and can do nothing, does not begin it anew; whoever takes a task does.
        """
        self._told: set[str] = set()
        self._over: set[str] = set()
        self._lock = threading.Lock()

    def notice(self, events: Sequence[Event], seated: Container[str], now: float) -> None:
        """Take in what was committed; `seated` has the roles in which somebody sits by now."""
        with self._lock:
            for event in events:
                if not event.stream.startswith(ROOM):
                    continue
                key = f"{event.stream.removeprefix(ROOM)}/{event.data.get('role')}"
                if event.type.startswith(TASK) and "status" in event.data:
                    self._note(key, event.data["task"], event.data["status"] == PENDING)
                    self._judge(key, seated, now)
                elif event.type.startswith(PARTICIPANT):
                    self._judge(key, seated, now)

    def remember(
        self, pending: Iterable[tuple[str, str]], told: Iterable[str], seated: Container[str], now: float
    ) -> None:
        """Take up again, after a restart, which tasks are pending, as (key, task), and of which roles people know."""
        with self._lock:
            self._told.update(told)
            for key, task in pending:
                self._note(key, task, True)
            for key in (*self._pending, *self._told):
                self._judge(key, seated, now)

    def begin_anew(self, now: float) -> None:
        """Count everything anew after an absence of the server: nobody could join in that time."""
        with self._lock:
            self._since = dict.fromkeys(self._since, now)

    def overdue(self, now: float, timeout_s: float) -> list[str]:
        """The roles of which people are to be told, because they have been unattended for so long."""
        with self._lock:
            return [key for key, _ in takewhile(lambda item: now - item[1] >= timeout_s, self._since.items())]

    def attended(self) -> list[str]:
        """The roles of which people were told, and need not have been any more."""
        return [*self._over]

    def was_told(self, key: str, seated: Container[str], now: float) -> None:
        """People have been told of a role."""
        with self._lock:
            self._told.add(key)
            self._judge(key, seated, now)

    def was_resolved(self, key: str, seated: Container[str], now: float) -> None:
        """What people were told of a role was taken back, or turned out not to be so."""
        with self._lock:
            self._told.discard(key)
            self._over.discard(key)
            self._since.pop(key, None)
            self._judge(key, seated, now)

    def _note(self, key: str, task: str, is_pending: bool) -> None:
        if is_pending:
            self._pending.setdefault(key, set()).add(task)
        elif task in (waiting := self._pending.get(key, set())):
            waiting.discard(task)
            self._since.pop(key, None)
            if not waiting:
                del self._pending[key]

    def _judge(self, key: str, seated: Container[str], now: float) -> None:
        is_pending = key in self._pending
        is_unattended = is_pending and key not in seated
        if not is_pending or key in self._told:
            self._since.pop(key, None)
        elif is_unattended:
            self._since.setdefault(key, now)
        if key in self._told and not is_unattended:
            self._over.add(key)
        else:
            self._over.discard(key)
