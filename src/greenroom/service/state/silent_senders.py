"""Tracks the machines and agents whose lease expired lately, and those of a mass silence. In memory only."""

import threading
from collections.abc import Collection, Iterable
from typing import NamedTuple

from greenroom.service.state.thread_rules import Locked


class MassSilence(NamedTuple):
    """A raised `mass_silence` alert: the senders that are still missing, how many were missing at first, since when."""

    missing: frozenset[str]
    initial: int
    since: float


class SilentSenders(Locked):
    """Senders by the id of a machine or the key of a role. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._silent_since: dict[str, float] = {}
        self._missing: set[str] = set()
        self._initial = 0
        self._since = 0.0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._silent_since)

    @property
    def mass_silence(self) -> MassSilence | None:
        """The mass silence whose alert is raised; None if there is none."""
        with self._lock:
            return MassSilence(frozenset(self._missing), self._initial, self._since) if self._initial else None

    def record(self, sender: str, now: float) -> None:
        """Record that the lease of a sender has just expired."""
        with self._lock:
            self._silent_since[sender] = now

    def clear(self, sender: str) -> None:
        """Record that a sender is back, or is no longer expected."""
        with self._lock:
            self._silent_since.pop(sender, None)
            self._missing.discard(sender)

    def drop_until(self, until: float) -> None:
        """Drop the senders whose lease expired before `until`. A mass silence goes on waiting for them."""
        with self._lock:
            for sender in [sender for sender, since in self._silent_since.items() if since < until]:
                del self._silent_since[sender]

    def begin_mass_silence(self, now: float) -> Collection[str]:
        """Begin a mass silence of all senders that are silent now, and return them."""
        with self._lock:
            self._since = now
            self._missing = set(self._silent_since)
            self._initial = len(self._missing)
            return frozenset(self._missing)

    def end_mass_silence(self) -> None:
        """End the mass silence. Its senders stay silent until they are back or dropped."""
        with self._lock:
            self._missing, self._initial = set(), 0

    def restore_mass_silence(self, missing: Iterable[str], initial: int, since: float) -> None:
        """Restore a mass silence whose alert is raised, unless another one has begun."""
        with self._lock:
            if not self._initial:
                self._missing, self._initial, self._since = set(missing), initial, since
