"""Knows when the sweep may judge, and what follows from a lease that ran out. Must not know tables, locks or clocks."""

import msgspec

from greenroom.domain.lease import was_absent
from greenroom.domain.reliability import Reliability


class Plan(msgspec.Struct, frozen=True):
    """What one round of the sweep is to record: keys of seats, ids of machines, ids of tasks."""

    participants: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.participants or self.machines or self.tasks)


def must_extend(planned_at: float, now: float, limits: Reliability) -> bool:
    """Tell whether this round comes so late that every lease is first counted anew.

    The server was stopped, starved or asleep; beats may lie unread, and nobody is judged on what could not be heard.
    """
    return was_absent(now - planned_at, min(limits.heartbeat_ttl_s, limits.daemon_heartbeat_ttl_s))


def decide(participants: list[str], machines: list[str], tasks: list[str], batch_max: int) -> Plan:
    """Decide what one round records, given what is due: machines first, since their agents go with them."""
    room = batch_max
    machines_now = tuple(machines[:room])
    room -= len(machines_now)
    participants_now = tuple(participants[:room])
    room -= len(participants_now)
    return Plan(participants_now, machines_now, tuple(tasks[:room]))


def release_at(now: float, limits: Reliability) -> float:
    """When a task whose holder's lease ends at `now` is given to others, in monotonic seconds."""
    return now + limits.task_lost_after_s
