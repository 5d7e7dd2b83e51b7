"""The sweep policy: whether a round may expire leases, and what one round records.

Options: `heartbeat_ttl_s`, `daemon_heartbeat_ttl_s` and `task_lost_after_s`.
"""

import msgspec

from greenroom.domain.lease import was_absent
from greenroom.domain.reliability import Reliability


class Plan(msgspec.Struct, frozen=True):
    """What one round of the sweep records: keys of roles (of `participants`), ids of machines, ids of tasks.

    `unattended` are roles that have work and no participant, `attended` those for which that is over.
    """

    participants: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    unattended: tuple[str, ...] = ()
    attended: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any((self.participants, self.machines, self.tasks, self.unattended, self.attended))


def must_extend(planned_at: float, now: float, limits: Reliability) -> bool:
    """Return whether this round is so late that every lease must be extended first.

    The server was stopped, starved or asleep. Beats may be waiting unread, and no lease may expire because of that.
    """
    return was_absent(now - planned_at, min(limits.heartbeat_ttl_s, limits.daemon_heartbeat_ttl_s))


def decide(due: Plan, batch_max: int) -> Plan:
    """Return what one round records of what is due: at most `batch_max` entries.

    Machines come first, since their agents end with them.
    """
    remaining = batch_max
    chosen: dict[str, tuple[str, ...]] = {}
    for name in ("machines", "participants", "tasks", "attended", "unattended"):
        chosen[name] = getattr(due, name)[:remaining]
        remaining -= len(chosen[name])
    return Plan(**chosen)


def release_at(now: float, limits: Reliability) -> float:
    """Return when a task whose holder's lease ends at `now` becomes claimable again, in monotonic seconds."""
    return now + limits.task_lost_after_s
