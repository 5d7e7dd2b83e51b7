"""What every use case is handed: the clocks, limits, store and memory of one server. Must not know any use case."""

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
    """What the sweep remembers between its rounds, and what is counted of it."""

    planned_at: float
    promoted_at: float
    is_recording: bool = False
    silent_since: dict[str, float] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    gone_at_first: int = 0
    clones: dict[str, float] = field(default_factory=dict)
    """Machines of which two daemons were heard, and when the older one last was."""
    extensions: int = 0
    expired: int = 0
    disconnected: int = 0
    released: int = 0


@dataclass
class Retention:
    """What the rounds that forget remember between them: all that is here is found again after a restart."""

    begins_at: float = 0.0
    is_forgetting: bool = False
    rows: int = 0
    steps: deque[str] = field(default_factory=deque)
    after_sitting: tuple[str, str, str, int] = NO_SITTING
    long_streams: set[str] = field(default_factory=set)
    forgotten: int = 0


@dataclass(frozen=True)
class World:
    """One server's world. Use cases take it first and read nothing from anywhere else."""

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
        """Mint an id that nobody can guess."""
        return spell_id(prefix, self.entropy.token(ID_BYTES))

    def now(self) -> Now:
        """Read the clocks, for what needs no transaction."""
        return now(self.clock)

    def lease_length_s(self, sitting: Sitting) -> float:
        """Seconds that a sitting lasts without a beat or a call: as its machine's, or by what its lease is for."""
        if sitting.machine is not None:
            return self.limits.daemon_heartbeat_ttl_s
        if sitting.lease == HANDED:
            return self.limits.task_acknowledged_timeout_s
        return self.limits.work_lease_s if sitting.lease == WORK else self.limits.heartbeat_ttl_s

    @property
    def is_crowded(self) -> bool:
        """Tell whether so many beat, or have a claim standing, that their retries must be spread further."""
        return self.leases.beating > CROWD or len(self.leases.seats) > SEATS_CROWD

    def next_beat_in_s(self) -> float:
        """Seconds to an agent's next beat, spread anew each time so that a crowd does not stay one."""
        return round(self.limits.next_beat_in_s(self.limits.heartbeat_interval_s, self.entropy.fraction()), 3)

    def next_machine_beat_in_s(self) -> float:
        """Seconds to a daemon's next beat, spread likewise."""
        return round(self.limits.next_beat_in_s(self.limits.daemon_heartbeat_interval_s, self.entropy.fraction()), 3)
