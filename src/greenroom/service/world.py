"""The context of every use case: the clocks, limits, store and memory of one server."""

from collections import deque
from dataclasses import dataclass, field

from greenroom.clock import Clock, Now, now
from greenroom.domain.ids import ID_BYTES, spell_id
from greenroom.domain.reliability import CROWD, SEATS_CROWD, Reliability
from greenroom.domain.sitting import HANDED, WORK, Sitting
from greenroom.entropy import Entropy
from greenroom.service.attendance import Attendance
from greenroom.service.directory import Directory
from greenroom.service.feed import Feed
from greenroom.service.guards import Guards
from greenroom.service.keys import Keys
from greenroom.service.leases import LeaseTable
from greenroom.service.signals import Signals
from greenroom.store.retention import NO_SITTING
from greenroom.store.store import Store


@dataclass
class Healer:
    """The state of the sweep between its rounds, and its counters since the start of the server.

    `planned_at`: when the next round is due; `promoted_at`: when queued tasks are promoted next. `silent_since`: the
    machines and agents whose lease expired lately; `gone`: those that a raised `mass_silence` alert still waits for,
    `gone_at_first` of them at first. Times are monotonic seconds.
    """

    planned_at: float
    promoted_at: float
    is_recording: bool = False
    silent_since: dict[str, float] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    gone_at_first: int = 0
    clones: dict[str, float] = field(default_factory=dict)
    """Machines for which two daemons run, and when the older one last sent a heartbeat."""
    extensions: int = 0
    expired: int = 0
    disconnected: int = 0
    released: int = 0


@dataclass
class Retention:
    """The state of retention between its batches. After a restart all of it is found again from the store.

    `rows` is the size of the next batch, 0 before the first; `forgotten` counts the rows processed so far.
    """

    begins_at: float = 0.0
    is_forgetting: bool = False
    rows: int = 0
    steps: deque[str] = field(default_factory=deque)
    after_sitting: tuple[str, str, str, int] = NO_SITTING
    long_streams: set[str] = field(default_factory=set)
    forgotten: int = 0


@dataclass(frozen=True)
class World:
    """The context of one server. Every use case takes it as its first argument, and uses no other global state."""

    clock: Clock
    entropy: Entropy
    limits: Reliability
    store: Store
    directory: Directory
    leases: LeaseTable
    feed: Feed
    signals: Signals
    keys: Keys
    healer: Healer = field(repr=False)
    guards: Guards = field(default_factory=Guards, repr=False)
    attendance: Attendance = field(default_factory=Attendance, repr=False)
    retention: Retention = field(default_factory=Retention, repr=False)

    def new_id(self, prefix: str) -> str:
        """Make a random id that cannot be guessed, such as `task_hbspqg3iwdos3ziw`."""
        return spell_id(prefix, self.entropy.token(ID_BYTES))

    def now(self) -> Now:
        """Read the clocks, outside of a transaction."""
        return now(self.clock)

    def lease_length_s(self, sitting: Sitting) -> float:
        """The length of a participant's lease in seconds: that of its machine, or by the kind of its own lease."""
        if sitting.machine is not None:
            return self.limits.daemon_heartbeat_ttl_s
        if sitting.lease == HANDED:
            return self.limits.task_acknowledged_timeout_s
        return self.limits.work_lease_s if sitting.lease == WORK else self.limits.heartbeat_ttl_s

    @property
    def is_crowded(self) -> bool:
        """Whether so many clients send heartbeats, or may wait with a claim, that they must spread their retries."""
        return self.leases.beating > CROWD or len(self.leases.seats) > SEATS_CROWD

    def next_beat_in_s(self) -> float:
        """Seconds until an agent's next heartbeat, drawn at random each time so that heartbeats spread out."""
        return round(self.limits.next_beat_in_s(self.limits.heartbeat_interval_s, self.entropy.fraction()), 3)

    def next_machine_beat_in_s(self) -> float:
        """Seconds until a daemon's next heartbeat, drawn likewise."""
        return round(self.limits.next_beat_in_s(self.limits.daemon_heartbeat_interval_s, self.entropy.fraction()), 3)
