"""The context of every use case: the clocks, limits, store and memory of one server."""

from collections import deque
from dataclasses import dataclass, field

from greenroom.clock import Clock, Now, now
from greenroom.domain.ids import ID_BYTES, format_id
from greenroom.domain.limits import SPREAD_RETRIES_CLIENTS, SPREAD_RETRIES_ROLES, Limits
from greenroom.domain.participant import DETACHED, WORK, Participant
from greenroom.entropy import Entropy
from greenroom.service.state.lease_table import LeaseTable
from greenroom.service.state.notifications import EventBuffer, Notifications
from greenroom.service.state.room_cache import RoomCache
from greenroom.service.state.takeover_holds import TakeoverHolds
from greenroom.service.state.tokens import TokenSigner
from greenroom.service.state.unattended_since import UnattendedRoles
from greenroom.store.retention import BEFORE_ALL_PARTICIPANTS
from greenroom.store.store import Store


@dataclass
class SweepState:
    """The state of the sweep between its rounds, and its counters since the start of the server.

    `next_round_at`: when the next round is due; `next_promotion_at`: when queued tasks are promoted next.
    `silent_since`: the machines and agents whose lease expired lately; `mass_silence_missing`: those that a raised
    `mass_silence` alert still waits for, `mass_silence_initial` of them at first. Times are monotonic seconds.
    """

    next_round_at: float
    next_promotion_at: float
    is_recording: bool = False
    silent_since: dict[str, float] = field(default_factory=dict)
    mass_silence_missing: set[str] = field(default_factory=set)
    mass_silence_initial: int = 0
    older_daemon_seen_at: dict[str, float] = field(default_factory=dict)
    """Machines for which two daemons run, and when the older one last sent a heartbeat."""
    extensions: int = 0
    expired: int = 0
    disconnected: int = 0
    released: int = 0


@dataclass
class RetentionState:
    """The state of retention between its batches. After a restart all of it is found again from the store.

    `rows` is the size of the next batch, 0 before the first; `rows_processed` counts the rows processed so far.
    """

    next_round_at: float = 0.0
    is_running: bool = False
    rows: int = 0
    steps: deque[str] = field(default_factory=deque)
    after_participant: tuple[str, str, str, int] = BEFORE_ALL_PARTICIPANTS
    long_streams: set[str] = field(default_factory=set)
    rows_processed: int = 0


@dataclass(frozen=True)
class ServiceContext:
    """The context of one server. Every use case takes it as its first argument, and uses no other global state."""

    clock: Clock
    entropy: Entropy
    limits: Limits
    store: Store
    room_cache: RoomCache
    leases: LeaseTable
    event_buffer: EventBuffer
    notifications: Notifications
    tokens: TokenSigner
    sweep: SweepState = field(repr=False)
    takeover_holds: TakeoverHolds = field(default_factory=TakeoverHolds, repr=False)
    unattended: UnattendedRoles = field(default_factory=UnattendedRoles, repr=False)
    retention: RetentionState = field(default_factory=RetentionState, repr=False)

    def new_id(self, prefix: str) -> str:
        """Make a random id that cannot be guessed, such as `task_hbspqg3iwdos3ziw`."""
        return format_id(prefix, self.entropy.random_bytes(ID_BYTES))

    def now(self) -> Now:
        """Read the clocks, outside of a transaction."""
        return now(self.clock)

    def get_lease_length_s(self, participant: Participant) -> float:
        """The length of a participant's lease in seconds: that of its machine, or by the kind of its own lease."""
        if participant.machine is not None:
            return self.limits.daemon_heartbeat_ttl_s
        if participant.lease == DETACHED:
            return self.limits.task_acknowledged_timeout_s
        return self.limits.work_lease_s if participant.lease == WORK else self.limits.heartbeat_ttl_s

    @property
    def should_spread_retries(self) -> bool:
        """Whether so many clients send heartbeats, or may wait with a claim, that they must spread their retries."""
        return (
            self.leases.heartbeat_senders > SPREAD_RETRIES_CLIENTS
            or len(self.leases.participants) > SPREAD_RETRIES_ROLES
        )

    def draw_heartbeat_interval_s(self) -> float:
        """Seconds until an agent's next heartbeat, drawn at random each time so that heartbeats spread out."""
        return round(self.limits.next_beat_in_s(self.limits.heartbeat_interval_s, self.entropy.fraction()), 3)

    def draw_machine_heartbeat_interval_s(self) -> float:
        """Seconds until a daemon's next heartbeat, drawn likewise."""
        return round(self.limits.next_beat_in_s(self.limits.daemon_heartbeat_interval_s, self.entropy.fraction()), 3)
