"""Tracks the roles that have a pending task and no present participant, and since when. In memory only.

It is updated from events as they are published, so that no round of the sweep has to search for such roles.
"""

import threading
from collections.abc import Container, Iterable, Sequence
from itertools import takewhile

from greenroom.domain.event import Event
from greenroom.domain.task import PENDING
from greenroom.service.state.thread_rules import Locked

ROOM_STREAM_PREFIX = "room:"
TASK_EVENT_PREFIX = "task."
PARTICIPANT_EVENT_PREFIX = "participant."


class UnattendedRoles(Locked):
    """Roles by the key of `role_key`: the room's id and the role's name."""

    def __init__(self) -> None:
        self._pending: dict[str, set[str]] = {}
        self._waiting_since: dict[str, float] = {}
        """When the wait began, in monotonic seconds, of each role for which no alert is raised yet; oldest first.

        A participant that joins and leaves without claiming does not restart the wait; one that claims a task does.
        """
        self._alerted: set[str] = set()
        self._resolvable: set[str] = set()
        self._lock = threading.Lock()

    def apply_events(self, events: Sequence[Event], occupied: Container[str], now: float) -> None:
        """Apply committed events; `occupied` holds the keys of the roles that have a participant now."""
        with self._lock:
            for event in events:
                if not event.stream.startswith(ROOM_STREAM_PREFIX):
                    continue
                key = f"{event.stream.removeprefix(ROOM_STREAM_PREFIX)}/{event.data.get('role')}"
                if event.type.startswith(TASK_EVENT_PREFIX) and "status" in event.data:
                    self._set_pending(key, event.data["task"], event.data["status"] == PENDING)
                    self._update(key, occupied, now)
                elif event.type.startswith(PARTICIPANT_EVENT_PREFIX):
                    self._update(key, occupied, now)

    def restore(
        self, pending: Iterable[tuple[str, str]], alerted: Iterable[str], occupied: Container[str], now: float
    ) -> None:
        """Restore the state after a restart: `pending` as (key, task), `alerted` as the keys with a raised alert."""
        with self._lock:
            self._alerted.update(alerted)
            for key, task in pending:
                self._set_pending(key, task, True)
            for key in (*self._pending, *self._alerted):
                self._update(key, occupied, now)

    def restart_waits(self, now: float) -> None:
        """Restart every wait at `now` after an absence of the server: no agent could join in that time."""
        with self._lock:
            self._waiting_since = dict.fromkeys(self._waiting_since, now)

    def list_overdue(self, now: float, timeout_s: float) -> list[str]:
        """The keys of roles that have been unattended for `timeout_s` and need an alert, oldest first."""
        with self._lock:
            return [key for key, _ in takewhile(lambda item: now - item[1] >= timeout_s, self._waiting_since.items())]

    def list_resolvable(self) -> list[str]:
        """The keys of roles whose alert is raised and no longer applies."""
        return [*self._resolvable]

    def record_alert(self, key: str, occupied: Container[str], now: float) -> None:
        """Record that the alert for a role is raised."""
        with self._lock:
            self._alerted.add(key)
            self._update(key, occupied, now)

    def record_resolved(self, key: str, occupied: Container[str], now: float) -> None:
        """Record that the alert for a role was resolved, or was not needed."""
        with self._lock:
            self._alerted.discard(key)
            self._resolvable.discard(key)
            self._waiting_since.pop(key, None)
            self._update(key, occupied, now)

    def _set_pending(self, key: str, task: str, is_pending: bool) -> None:
        if is_pending:
            self._pending.setdefault(key, set()).add(task)
        elif task in (waiting := self._pending.get(key, set())):
            waiting.discard(task)
            self._waiting_since.pop(key, None)
            if not waiting:
                del self._pending[key]

    def _update(self, key: str, occupied: Container[str], now: float) -> None:
        is_pending = key in self._pending
        is_unattended = is_pending and key not in occupied
        if not is_pending or key in self._alerted:
            self._waiting_since.pop(key, None)
        elif is_unattended:
            self._waiting_since.setdefault(key, now)
        if key in self._alerted and not is_unattended:
            self._resolvable.add(key)
        else:
            self._resolvable.discard(key)
