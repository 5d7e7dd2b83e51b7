"""The sweep policy: whether a round may expire leases, what one round records, and what counts as a mass silence.

A mass silence is many clients falling silent together. The cause is then probably the server or its network.
Options: `heartbeat_ttl_s`, `daemon_heartbeat_ttl_s` and `task_lost_after_s`. Limits: a mass silence counts only
machines, and agents that send their own heartbeats and did not end in order; a silence of fewer than three clients is
never one. A fault of the network that spares one client lasts longer than the alert: other clients are heard.
"""

import msgspec

from greenroom.domain.lease import was_server_absent
from greenroom.domain.limits import Limits

SILENT_MIN = 3
"""With fewer silent clients than this, the cause is taken to be the clients themselves."""


class SweepBatch(msgspec.Struct, frozen=True):
    """What one round of the sweep records: keys of roles (of `participants`), ids of machines, ids of tasks.

    `unattended` are roles that have had work and no participant for too long, `covered` those of them with an alert
    that may be over, or may be another one by now.
    """

    participants: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    unattended: tuple[str, ...] = ()
    covered: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any((self.participants, self.machines, self.tasks, self.unattended, self.covered))


def must_extend_leases(planned_at: float, now: float, limits: Limits) -> bool:
    """Return whether this round is so late that every lease must be extended first.

    The server was stopped, starved or asleep. Beats may be waiting unread, and no lease may expire because of that.
    """
    return was_server_absent(now - planned_at, min(limits.heartbeat_ttl_s, limits.daemon_heartbeat_ttl_s))


def select_batch(due: SweepBatch, batch_max: int) -> SweepBatch:
    """Return what one round records of what is due: at most `batch_max` entries.

    Machines come first, since their agents end with them.
    """
    remaining = batch_max
    chosen: dict[str, tuple[str, ...]] = {}
    for name in ("machines", "participants", "tasks", "covered", "unattended"):
        chosen[name] = getattr(due, name)[:remaining]
        remaining -= len(chosen[name])
    return SweepBatch(**chosen)


def task_release_at(now: float, limits: Limits) -> float:
    """Return when a task whose holder's lease ends at `now` becomes claimable again, in monotonic seconds."""
    return now + limits.task_lost_after_s


def is_mass_silence(silent: int, beating: int) -> bool:
    """Return whether at least half of all beating clients fell silent within one TTL, and at least three of them."""
    return silent >= SILENT_MIN and silent >= beating


def are_others_heard(since: float, heard_at: float, ttl_s: float) -> bool:
    """Return whether the server still heard clients a whole lease after a mass silence began.

    Then the cause is neither the server nor its network: those that are still missing have ended.
    """
    return heard_at >= since + ttl_s


def is_mass_silence_over(still_gone: int, gone: int) -> bool:
    """Return whether more than half of the clients that fell silent together are back, or are no longer expected."""
    return 2 * still_gone < gone
