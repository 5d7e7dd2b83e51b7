"""Tracks the roles that have a pending task and no present participant, and since when. In memory only.

It is updated from events as they are published, so that no round of the sweep has to search for such roles.
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
    """Roles by the key of `seat_key`: the room's id and the role's name. Safe to use from several threads."""

    def __init__(self) -> None:
        self._pending: dict[str, set[str]] = {}
        self._since: dict[str, float] = {}
        """When the wait began, in monotonic seconds, of each role for which no alert is raised yet; oldest first.

        A participant that joins and leaves without claiming does not restart the wait; one that claims a task does.
        """
        self._told: set[str] = set()
        self._over: set[str] = set()
        self._lock = threading.Lock()

    def notice(self, events: Sequence[Event], seated: Container[str], now: float) -> None:
        """Apply committed events; `seated` holds the keys of the roles that have a participant now."""
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
        """Restore the state after a restart: `pending` as (key, task), `told` as the keys with a raised alert."""
        with self._lock:
            self._told.update(told)
            for key, task in pending:
                self._note(key, task, True)
            for key in (*self._pending, *self._told):
                self._judge(key, seated, now)

    def begin_anew(self, now: float) -> None:
        """Restart every wait at `now` after an absence of the server: no agent could join in that time."""
        with self._lock:
            self._since = dict.fromkeys(self._since, now)

    def overdue(self, now: float, timeout_s: float) -> list[str]:
        """The keys of roles that have been unattended for `timeout_s` and need an alert, oldest first."""
        with self._lock:
            return [key for key, _ in takewhile(lambda item: now - item[1] >= timeout_s, self._since.items())]

    def attended(self) -> list[str]:
        """The keys of roles whose alert is raised and no longer applies."""
        return [*self._over]

    def was_told(self, key: str, seated: Container[str], now: float) -> None:
        """Record that the alert for a role is raised."""
        with self._lock:
            self._told.add(key)
            self._judge(key, seated, now)

    def was_resolved(self, key: str, seated: Container[str], now: float) -> None:
        """Record that the alert for a role was resolved, or was not needed."""
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
