"""Tracks the machines for which two daemons run, and when the older one last sent a heartbeat. In memory only."""

import threading

from greenroom.service.state.thread_rules import Locked


class ClonedMachines(Locked):
    """Machines by their id. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._seen_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._seen_at)

    def record(self, machine: str, now: float) -> None:
        """Record a heartbeat of a machine's older daemon. An older record than the present one changes nothing."""
        with self._lock:
            self._seen_at[machine] = max(now, self._seen_at.get(machine, now))

    def remove(self, machine: str) -> None:
        """Stop watching a machine."""
        with self._lock:
            self._seen_at.pop(machine, None)

    def restart_waits(self, now: float) -> None:
        """Restart every wait at `now` after an absence of the server, which could receive no heartbeat."""
        with self._lock:
            self._seen_at = dict.fromkeys(self._seen_at, now)

    def restart_overdue(self, now: float, wait_s: float) -> list[str]:
        """The machines whose older daemon has been silent for `wait_s`; their wait restarts at `now`."""
        with self._lock:
            overdue = [machine for machine, seen_at in self._seen_at.items() if now - seen_at >= wait_s]
            self._seen_at.update(dict.fromkeys(overdue, now))
        return overdue
