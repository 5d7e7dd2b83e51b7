"""Knows when the sweep may judge, and what follows from a lease that ran out. Must not know tables, locks or clocks."""

import msgspec

from greenroom.domain.lease import was_absent
from greenroom.domain.reliability import Reliability


class Plan(msgspec.Struct, frozen=True):
    """What one round of the sweep is to record: keys of seats, ids of machines, ids of tasks.

    `unattended` are seats that nobody sits in although there is work, `attended` those of which that is over.
    """

    participants: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    unattended: tuple[str, ...] = ()
    attended: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any((self.participants, self.machines, self.tasks, self.unattended, self.attended))


def must_extend(planned_at: float, now: float, limits: Reliability) -> bool:
    """Tell whether this round comes so late that every lease is first counted anew.

    The server was stopped, starved or asleep; beats may lie unread, and nobody is judged on what could not be heard.
    """
    return was_absent(now - planned_at, min(limits.heartbeat_ttl_s, limits.daemon_heartbeat_ttl_s))


def decide(due: Plan, batch_max: int) -> Plan:
    """Decide what one round records of what is due: machines first, since their agents go with them."""
    left = batch_max
    now: dict[str, tuple[str, ...]] = {}
    for name in ("machines", "participants", "tasks", "attended", "unattended"):
        now[name] = getattr(due, name)[:left]
        left -= len(now[name])
    return Plan(**now)


def release_at(now: float, limits: Reliability) -> float:
    """When a task whose holder's lease ends at `now` is given to others, in monotonic seconds."""
    return now + limits.task_lost_after_s
