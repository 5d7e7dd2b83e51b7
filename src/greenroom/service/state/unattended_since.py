"""Tracks the roles that have a pending task and no present participant, and since when. In memory only.

It is updated from events as they are published, so that no round of the sweep has to search for such roles. A role that
an alert covers is checked again after each event that may change which alert that is.
"""

import threading
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import takewhile

from greenroom.domain.alert import CRASH_LOOPING, PAUSED
from greenroom.domain.event import Event
from greenroom.domain.task import PENDING
from greenroom.service.state.thread_rules import Locked

ROOM_STREAM_PREFIX = "room:"
TASK_EVENT_PREFIX = "task."
PARTICIPANT_EVENT_PREFIX = "participant."
MACHINE_STREAM_PREFIX = "machine:"
CONNECTION_EVENTS = ("machine.disconnected", "machine.reconnected")
ALERT_EVENTS = ("alert.raised", "alert.resolved")


class UnattendedRoles(Locked):
    """Roles by the key of `role_key`: the room's id and the role's name."""

    def __init__(self) -> None:
        self._pending: dict[str, set[str]] = {}
        self._waiting_since: dict[str, float] = {}
        """When the wait began, in monotonic seconds, of each role that no alert covers yet; oldest first.

        A participant that joins and leaves without claiming does not restart the wait; one that claims a task does.
        """
        self._covered: dict[str, str | None] = {}
        """The roles that an alert covers, each with the machine that it is assigned to."""
        self._changed: set[str] = set()
        """Those of them whose alert may be over, or may be another one by now."""
        self._lock = threading.Lock()

    def apply_events(self, events: Sequence[Event], occupied: Container[str], now: float) -> None:
        """Apply committed events; `occupied` holds the keys of the roles that have a participant now."""
        with self._lock:
            for event in events:
                if event.stream.startswith(ROOM_STREAM_PREFIX):
                    key = f"{event.stream.removeprefix(ROOM_STREAM_PREFIX)}/{event.data.get('role')}"
                    self._apply_room_event(event, key, occupied, now)
                elif event.type in CONNECTION_EVENTS:
                    machine = event.stream.removeprefix(MACHINE_STREAM_PREFIX)
                    self._changed.update(key for key, assigned in self._covered.items() if assigned == machine)

    def restore(
        self,
        pending: Iterable[tuple[str, str]],
        covered: Mapping[str, str | None],
        occupied: Container[str],
        now: float,
    ) -> None:
        """Restore the state after a restart: `pending` as (key, task), `covered` as the machine of each key."""
        with self._lock:
            self._covered.update(covered)
            for key, task in pending:
                self._set_pending(key, task, True)
            for key in (*self._pending, *self._covered):
                self._update(key, occupied, now)

    def restart_waits(self, now: float) -> None:
        """Restart every wait at `now` after an absence of the server: no agent could join in that time."""
        with self._lock:
            self._waiting_since = dict.fromkeys(self._waiting_since, now)

    def list_overdue(self, now: float, timeout_s: float) -> list[str]:
        """The keys of roles that have been unattended for `timeout_s` and need an alert, oldest first."""
        with self._lock:
            return [key for key, _ in takewhile(lambda item: now - item[1] >= timeout_s, self._waiting_since.items())]

    def list_changed(self) -> list[str]:
        """The keys of covered roles whose alert may be over, or may be another one by now."""
        return [*self._changed]

    def record_alert(self, key: str, machine: str | None, occupied: Container[str], now: float) -> None:
        """Record that an alert covers a role, which is assigned to `machine`."""
        with self._lock:
            self._covered[key] = machine
            self._changed.discard(key)
            self._update(key, occupied, now)

    def record_resolved(self, key: str, occupied: Container[str], now: float) -> None:
        """Record that no alert covers a role. If a task still waits there, its wait begins now."""
        with self._lock:
            self._covered.pop(key, None)
            self._changed.discard(key)
            self._waiting_since.pop(key, None)
            self._update(key, occupied, now)

    def _apply_room_event(self, event: Event, key: str, occupied: Container[str], now: float) -> None:
        if event.type.startswith(TASK_EVENT_PREFIX) and "status" in event.data:
            self._set_pending(key, event.data["task"], event.data["status"] == PENDING)
            self._update(key, occupied, now)
        elif event.type.startswith(PARTICIPANT_EVENT_PREFIX):
            self._update(key, occupied, now)
        elif key in self._covered and (
            event.type == "agent.configured"
            or (event.type in ALERT_EVENTS and event.data["kind"] in (CRASH_LOOPING, PAUSED))
        ):
            self._changed.add(key)

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
        if not is_pending or key in self._covered:
            self._waiting_since.pop(key, None)
        elif is_unattended:
            self._waiting_since.setdefault(key, now)
        if key in self._covered and not is_unattended:
            self._changed.add(key)
