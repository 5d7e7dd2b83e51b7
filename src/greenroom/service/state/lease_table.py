"""The lease table: which participants and machines are present, and until when. In memory only.

Heartbeats come from the server's event loop, grants and ends from the store's writer after its commits. Only the sweep
ends a lease: it marks the lease when the transaction that records the end begins, and from then on no heartbeat can
renew it.
"""

import sys
import threading
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from greenroom.domain.lease import Lease, extend_deadline
from greenroom.domain.participant import OK, REJOIN_REQUIRED, SUPERSEDED
from greenroom.service.state.thread_rules import Guarded, Locked
from greenroom.service.state.timing_wheel import TimingWheel, WheelEntry
from greenroom.wire.replies import TaskRef


class HeldTask(NamedTuple):
    """The task that a participant holds, and the notes on it: one value, since a heartbeat reads it without a lock."""

    task: TaskRef
    notes: tuple[str, ...]


class ParticipantLease(WheelEntry, gc=False):
    """The lease of a present participant. If a daemon beats for it (`machine`), each beat that names it renews it.

    `key` is the same string object as its key in the table: a copy for each of a million leases would take 80 MB.
    `may_be_silent`: its agent ended in order and no process beats for it, so that the end of its lease is no silence.
    """

    machine: str | None = None
    held_task: HeldTask | None = None
    key: str = ""
    may_be_silent: bool = False

    @property
    def task(self) -> TaskRef | None:
        """The task that the participant holds; None if it holds none."""
        return self.held_task.task if self.held_task is not None else None


class MachineLease(Lease, Guarded, gc=False):
    """The lease of a connected machine; `connection` is its incarnation, `since` the instant at which it connected.

    `last_heartbeat_at` (monotonic seconds) and `seen_at` (an instant) are the time of its last heartbeat.
    """

    assignments_version: int = 0
    last_heartbeat_at: float = 0.0
    seen_at: str = ""
    connected_at: str = ""


Marked = TypeVar("Marked", bound=Lease)


def role_key(room: str, role: str) -> str:
    """The key of a role: the room's id and the role's name."""
    return f"{room}/{role}"


class LeaseTable(Locked):
    """All leases and all release timers of this server. Times are monotonic seconds.

    `step_s` is the width in seconds of the time steps in which participants' leases come due. The table remembers the
    last `closed_max` participants that ended. `heard_at` is when a heartbeat or another call last renewed a lease.
    """

    def __init__(self, step_s: float, closed_max: int) -> None:
        self.participants: dict[str, ParticipantLease] = {}
        self.machines: dict[str, MachineLease] = {}
        self.timers: dict[str, float] = {}
        self._closed: dict[str, set[str]] = {}
        self._closed_max = closed_max
        self._closings: deque[tuple[str, str]] = deque()
        self._own_lease_count = 0
        self.heard_at = 0.0
        self._wheel: TimingWheel[ParticipantLease] = TimingWheel(step_s)
        self._is_round_open = False
        self._due_keys: list[str] = []
        self._lock = threading.Lock()

    # Heartbeats.

    def renew(self, key: str, connection: str, now: float, pausing: bool = False) -> str:
        """Renew the lease of a role's participant; the verdict: OK, or that of a connection which does not hold it.

        `pausing`: its silence from now on is intended, until the next call.
        """
        lease = self.participants.get(key)
        if lease is not None and lease.connection == connection:
            with self._lock:
                if lease.renew(now):
                    lease.may_be_silent = pausing
                    self.heard_at = now
                    return OK
        return self.get_verdict(key, connection)

    def get_verdict(self, key: str, connection: str) -> str:
        """The verdict for a connection that does not hold the role: an ended participant never takes it back."""
        closed = self._closed.get(key)
        return SUPERSEDED if closed is not None and connection in closed else REJOIN_REQUIRED

    def renew_machine(
        self, machine: str, incarnation: str, named: Iterable[tuple[str, str]], now: float, instant: str
    ) -> list[ParticipantLease | None] | None:
        """Renew the leases of a machine and of each participant that it names as (key, connection).

        Returns a list in the order of `named`, with None for each lost lease. Returns None instead of the list when the
        heartbeat needs the store: the machine is not connected under that incarnation, or a participant is not tied to
        this machine yet.
        """
        lease = self.machines.get(machine)
        found: list[ParticipantLease | None] = []
        with self._lock:
            if lease is None or lease.connection != incarnation or not lease.renew(now):
                return None
            lease.last_heartbeat_at, lease.seen_at = now, instant
            self.heard_at = now
            for key, connection in named:
                agent_lease = self.participants.get(key)
                if agent_lease is None or agent_lease.is_ending or agent_lease.connection != connection:
                    found.append(None)
                elif agent_lease.machine != machine:
                    return None
                else:
                    agent_lease.deadline = now + agent_lease.length_s
                    found.append(agent_lease)
        return found

    # Grants, after commits.

    def grant(self, key: str, connection: str, length_s: float, machine: str | None, now: float) -> None:
        """Grant a connection the lease of a role, or restart its lease with that length; its task is kept."""
        with self._lock:
            previous = self.participants.get(key)
            self._own_lease_count += (machine is None) - (previous is not None and previous.machine is None)
            same = previous if previous is not None and previous.connection == connection else None
            lease = ParticipantLease(
                connection,
                length_s,
                now + length_s,
                machine=sys.intern(machine) if machine is not None else None,
                held_task=same.held_task if same is not None else None,
                key=previous.key if previous is not None else key,
            )
            self.participants[lease.key] = lease
            self._wheel.add(lease)

    def set_task(self, key: str, connection: str, task: TaskRef | None, notes: tuple[str, ...] = ()) -> None:
        """Set the task that the role's connection holds, with the notes on it; None if it holds none."""
        with self._lock:
            lease = self.participants.get(key)
            if lease is not None and lease.connection == connection:
                lease.held_task = HeldTask(task, notes) if task is not None else None

    def allow_silence(self, key: str, connection: str) -> None:
        """Record that no process beats for a participant from now on, until its next call."""
        with self._lock:
            lease = self.participants.get(key)
            if lease is not None and lease.connection == connection:
                lease.may_be_silent = True

    def revoke(self, key: str, connection: str) -> None:
        """Remove the lease of a role, if that connection still holds it."""
        with self._lock:
            lease = self.participants.get(key)
            if lease is not None and lease.connection == connection:
                del self.participants[key]
                self._own_lease_count -= lease.machine is None

    @property
    def heartbeat_senders(self) -> int:
        """The number of heartbeat senders: the connected machines, and the participants without a machine."""
        return self._own_lease_count + len(self.machines)

    def record_closed(self, key: str, connection: str) -> None:
        """Remember that a participant is closed. Beyond `closed_max` the oldest is dropped; the store has them all."""
        with self._lock:
            connections = self._closed.setdefault(key, set())
            if connection in connections:
                return
            connections.add(connection)
            self._closings.append((key, connection))
            if len(self._closings) > self._closed_max:
                oldest_key, oldest_connection = self._closings.popleft()
                other_connections = self._closed.get(oldest_key)
                if other_connections is not None:
                    other_connections.discard(oldest_connection)
                    if not other_connections:
                        del self._closed[oldest_key]

    def drop_closed(self, key: str) -> None:
        """Drop the closed participants of a role that was deleted."""
        with self._lock:
            self._closed.pop(key, None)

    def grant_machine(self, machine: str, lease: MachineLease) -> None:
        """Add or replace the lease of a connected machine."""
        with self._lock:
            self.machines[machine] = lease

    def drop_machine(self, machine: str) -> None:
        """Remove the lease of a machine."""
        with self._lock:
            self.machines.pop(machine, None)

    def set_assignments_version(self, machine: str, version: int) -> None:
        """Set the version of a connected machine's assignments."""
        with self._lock:
            lease = self.machines.get(machine)
            if lease is not None:
                lease.assignments_version = version

    def start_timer(self, task: str, deadline: float) -> None:
        """Start the release timer of a task."""
        with self._lock:
            self.timers[task] = deadline

    def stop_timer(self, task: str) -> None:
        """Stop the release timer of a task."""
        with self._lock:
            self.timers.pop(task, None)

    # The sweep.

    def check_leases(self, now: float, checks_max: int, due_max: int) -> bool:
        """Check the next participants' leases that the calendar has ready; True while this round has more of them.

        One call checks little more than `checks_max` leases, because heartbeats wait for it. A round ends early once
        `due_max` expired leases were found; the next round continues from there.
        """
        wheel, budget = self._wheel, checks_max
        with self._lock:
            if not self._is_round_open:
                wheel.advance(now)
            while budget > 0 and wheel.has_due:
                chain = wheel.take_due()
                budget -= len(chain)
                for lease in chain:
                    if self.participants.get(lease.key) is lease:
                        if lease.is_due(now):
                            self._due_keys.append(lease.key)
                        wheel.add(lease)
            self._is_round_open = wheel.has_due and len(self._due_keys) < due_max
            return self._is_round_open

    def take_due_participants(self, now: float) -> list[str]:
        """The keys of the expired leases that this round found, without those renewed in the meantime."""
        with self._lock:
            keys, self._due_keys = self._due_keys, []
        return [key for key in keys if (lease := self.participants.get(key)) is not None and lease.is_due(now)]

    def due_machines(self, now: float) -> list[str]:
        """The ids of machines whose lease has expired."""
        return [machine for machine, lease in list(self.machines.items()) if lease.is_due(now)]

    def due_timers(self, now: float) -> list[str]:
        """The ids of tasks whose release timer has run out."""
        return [task for task, deadline in list(self.timers.items()) if deadline <= now]

    def mark_participant(self, key: str, now: float) -> ParticipantLease | None:
        """Mark a participant's lease as ending, and return it; None when it was renewed in the meantime."""
        return self._mark(self.participants.get(key), now)

    def mark_machine(self, machine: str, now: float) -> MachineLease | None:
        """Mark a machine's lease as ending, and return it; None when it was renewed in the meantime."""
        return self._mark(self.machines.get(machine), now)

    def unmark(self, lease: Lease) -> None:
        """Remove a mark: the transaction that was to record the end was rolled back."""
        with self._lock:
            lease.is_ending = False

    def extend_all(self, now: float, timer_s: float) -> None:
        """Extend every lease to its full length from `now`, and every timer to `timer_s`, after an absence."""
        with self._lock:
            for lease in (*self.participants.values(), *self.machines.values()):
                lease.deadline = extend_deadline(lease.deadline, lease.length_s, now)
            for task, deadline in self.timers.items():
                self.timers[task] = extend_deadline(deadline, timer_s, now)

    def _mark(self, lease: Marked | None, now: float) -> Marked | None:
        if lease is None:
            return None
        with self._lock:
            if not lease.is_due(now):
                return None
            lease.is_ending = True
            return lease
