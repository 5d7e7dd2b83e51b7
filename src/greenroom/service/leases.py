"""The lease table: who is counted as present, and until when. Memory only; must not know the store.

Beats come from the server's loop, grants and ends from the store's writer after its commits. The lock covers a few
assignments and never a statement. Only the sweep ends a lease: it marks it when the transaction that records the end
begins, and from that moment a beat cannot renew it.
"""

import sys
import threading
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from greenroom.domain.lease import Lease, extended
from greenroom.domain.sitting import OK, REJOIN_REQUIRED, SUPERSEDED
from greenroom.service.calendar import Calendar, Filed
from greenroom.wire.replies import TaskRef


class InHand(NamedTuple):
    """The task that a seat holds, and what people told its holder: one value, since a beat reads it without a lock."""

    task: TaskRef
    notes: tuple[str, ...]


class Seat(Filed, gc=False):
    """A present participant. One that a daemon beats for (`machine`) is renewed by each beat that names it.

    `key` is the very string under which the table has it: a copy for each of a million seats would be 80 MB.
    """

    machine: str | None = None
    in_hand: InHand | None = None
    key: str = ""

    @property
    def task(self) -> TaskRef | None:
        """The task that it holds."""
        return self.in_hand.task if self.in_hand is not None else None


class MachineLease(Lease, gc=False):
    """A connected machine; `connection` is its incarnation, `since` the instant from which it could be heard."""

    wishes_version: int = 0
    beaten_at: float = 0.0
    seen_at: str = ""
    since: str = ""


Marked = TypeVar("Marked", bound=Lease)


def seat_key(room: str, role: str) -> str:
    """The key of a seat: the room's id and the role's name."""
    return f"{room}/{role}"


class LeaseTable:
    """All leases and all release timers of this server.

    Seats are looked at in steps of `page_s` seconds. Of the sittings that ended, the last `closed_max` are known.
    """

    def __init__(self, page_s: float, closed_max: int) -> None:
        self.seats: dict[str, Seat] = {}
        self.machines: dict[str, MachineLease] = {}
        self.timers: dict[str, float] = {}
        self._closed: dict[str, set[str]] = {}
        self._closed_max = closed_max
        self._closings: deque[tuple[str, str]] = deque()
        self._own_leases = 0
        self._calendar: Calendar[Seat] = Calendar(page_s)
        self._is_looking = False
        self._due: list[str] = []
        self._lock = threading.Lock()

    # Beats.

    def beat(self, key: str, connection: str, now: float) -> str:
        """Renew a seat's lease and say how it stands with that connection."""
        seat = self.seats.get(key)
        if seat is not None and seat.connection == connection:
            with self._lock:
                if seat.renew(now):
                    return OK
        return self.verdict(key, connection)

    def verdict(self, key: str, connection: str) -> str:
        """Judge a connection that does not hold the seat: an older sitting never takes a role back."""
        closed = self._closed.get(key)
        return SUPERSEDED if closed is not None and connection in closed else REJOIN_REQUIRED

    def beat_machine(
        self, machine: str, incarnation: str, named: Iterable[tuple[str, str]], now: float, instant: str
    ) -> list[Seat | None] | None:
        """Renew a machine's lease and each seat that it names as (key, connection): those seats, None for lost ones.

        None for all when the store must have its say: the machine is not connected under that incarnation, or a seat
        does not last as long as this machine yet.
        """
        lease = self.machines.get(machine)
        found: list[Seat | None] = []
        with self._lock:
            if lease is None or lease.connection != incarnation or not lease.renew(now):
                return None
            lease.beaten_at, lease.seen_at = now, instant
            for key, connection in named:
                seat = self.seats.get(key)
                if seat is None or seat.marked or seat.connection != connection:
                    found.append(None)
                elif seat.machine != machine:
                    return None
                else:
                    seat.deadline = now + seat.length_s
                    found.append(seat)
        return found

    # Grants, after commits.

    def grant(self, key: str, connection: str, length_s: float, machine: str | None, now: float) -> None:
        """Seat a connection, or count its lease anew with that length; what it holds stays known."""
        with self._lock:
            old = self.seats.get(key)
            self._own_leases += (machine is None) - (old is not None and old.machine is None)
            same = old if old is not None and old.connection == connection else None
            seat = Seat(
                connection,
                length_s,
                now + length_s,
                machine=sys.intern(machine) if machine is not None else None,
                in_hand=same.in_hand if same is not None else None,
                key=old.key if old is not None else key,
            )
            self.seats[seat.key] = seat
            self._calendar.file(seat)

    def hold(self, key: str, connection: str, task: TaskRef | None, notes: tuple[str, ...] = ()) -> None:
        """Note which task the seat's connection holds, and what people told it about that."""
        seat = self.seats.get(key)
        if seat is not None and seat.connection == connection:
            seat.in_hand = InHand(task, notes) if task is not None else None

    def vacate(self, key: str, connection: str) -> None:
        """Empty a seat, if that connection still has it."""
        with self._lock:
            seat = self.seats.get(key)
            if seat is not None and seat.connection == connection:
                del self.seats[key]
                self._own_leases -= seat.machine is None

    @property
    def beating(self) -> int:
        """How many beat for themselves: the connected machines, and the participants without one."""
        return self._own_leases + len(self.machines)

    def close(self, key: str, connection: str) -> None:
        """Note that a sitting ended for ever. Of too many the oldest are left to the store, which knows them all."""
        known = self._closed.setdefault(key, set())
        if connection in known:
            return
        known.add(connection)
        self._closings.append((key, connection))
        if len(self._closings) > self._closed_max:
            oldest, gone = self._closings.popleft()
            remembered = self._closed.get(oldest)
            if remembered is not None:
                remembered.discard(gone)
                if not remembered:
                    del self._closed[oldest]

    def forget(self, key: str) -> None:
        """Forget which sittings of a role ended: the role is gone for ever."""
        self._closed.pop(key, None)

    def grant_machine(self, machine: str, lease: MachineLease) -> None:
        """Count a machine as connected."""
        with self._lock:
            self.machines[machine] = lease

    def drop_machine(self, machine: str) -> None:
        """Count a machine as not connected."""
        with self._lock:
            self.machines.pop(machine, None)

    def stop_timer(self, task: str) -> None:
        """Let no timer run against a task any more."""
        self.timers.pop(task, None)

    # The sweep.

    def look(self, now: float, looks_max: int, due_max: int) -> bool:
        """Look at the next seats whose moment has come; True while this round has more of them.

        One call looks at little more than `looks_max`, because beats wait for it. A round ends early once `due_max`
        were found; where it ended, the next one goes on.
        """
        calendar, left = self._calendar, looks_max
        with self._lock:
            if not self._is_looking:
                calendar.turn(now)
            while left > 0 and calendar.is_open:
                sheet = calendar.draw()
                left -= len(sheet)
                for seat in sheet:
                    if self.seats.get(seat.key) is seat:
                        if seat.is_due(now):
                            self._due.append(seat.key)
                        calendar.file(seat)
            self._is_looking = calendar.is_open and len(self._due) < due_max
            return self._is_looking

    def due_seats(self, now: float) -> list[str]:
        """The keys of the seats that this round found, as far as their lease is still over."""
        found, self._due = self._due, []
        return [key for key in found if (seat := self.seats.get(key)) is not None and seat.is_due(now)]

    def due_machines(self, now: float) -> list[str]:
        """The ids of machines whose lease has run out."""
        return [machine for machine, lease in list(self.machines.items()) if lease.is_due(now)]

    def due_timers(self, now: float) -> list[str]:
        """The ids of tasks whose holder was silent for too long."""
        return [task for task, deadline in list(self.timers.items()) if deadline <= now]

    def mark_seat(self, key: str, now: float) -> Seat | None:
        """Begin to record the end of a seat's lease; None when it was renewed in the meantime."""
        return self._mark(self.seats.get(key), now)

    def mark_machine(self, machine: str, now: float) -> MachineLease | None:
        """Begin to record the end of a machine's lease; None when it was renewed in the meantime."""
        return self._mark(self.machines.get(machine), now)

    def clear(self, lease: Lease) -> None:
        """Take a mark back: the transaction that was to record the end came to nothing."""
        with self._lock:
            lease.marked = False

    def extend_all(self, now: float, timer_s: float) -> None:
        """Count everything anew after an absence of the server, once."""
        with self._lock:
            for lease in (*self.seats.values(), *self.machines.values()):
                lease.deadline = extended(lease.deadline, lease.length_s, now)
            for task, deadline in self.timers.items():
                self.timers[task] = extended(deadline, timer_s, now)

    def _mark(self, lease: Marked | None, now: float) -> Marked | None:
        if lease is None:
            return None
        with self._lock:
            if not lease.is_due(now):
                return None
            lease.marked = True
            return lease
