"""The context of every use case: the clocks, limits, store and memory of one server."""

from dataclasses import dataclass, field

from greenroom.clock import Clock, Now, now
from greenroom.domain.ids import ID_BYTES, format_id
from greenroom.domain.limits import SPREAD_RETRIES_CLIENTS, SPREAD_RETRIES_ROLES, Limits
from greenroom.domain.participant import DETACHED, WORK, Participant
from greenroom.entropy import Entropy
from greenroom.service.state.cloned_machines import ClonedMachines
from greenroom.service.state.late_loops import LateLoops
from greenroom.service.state.lease_table import LeaseTable
from greenroom.service.state.notifications import EventBuffer, Notifications
from greenroom.service.state.retention_state import LongStreams, RetentionState
from greenroom.service.state.room_cache import RoomCache
from greenroom.service.state.silent_senders import SilentSenders
from greenroom.service.state.sweep_state import SweepCounters, SweepState
from greenroom.service.state.takeover_holds import TakeoverHolds
from greenroom.service.state.tokens import TokenSigner
from greenroom.service.state.unattended_since import UnattendedRoles
from greenroom.store.store import Store


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
    sweep_counters: SweepCounters = field(default_factory=SweepCounters, repr=False)
    silent_senders: SilentSenders = field(default_factory=SilentSenders, repr=False)
    cloned_machines: ClonedMachines = field(default_factory=ClonedMachines, repr=False)
    takeover_holds: TakeoverHolds = field(default_factory=TakeoverHolds, repr=False)
    unattended: UnattendedRoles = field(default_factory=UnattendedRoles, repr=False)
    late_loops: LateLoops = field(default_factory=LateLoops, repr=False)
    retention: RetentionState = field(default_factory=RetentionState, repr=False)
    long_streams: LongStreams = field(default_factory=LongStreams, repr=False)

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
