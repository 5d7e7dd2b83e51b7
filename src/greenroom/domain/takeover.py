"""Knows when work that was taken over may be claimed: not before its former holder's run is stopped, as far as anybody
can say. Must not know tables, clocks, or how that word comes.
"""

from collections.abc import Collection

import msgspec

from greenroom.domain.reliability import Reliability
from greenroom.domain.sitting import PRESENT, Sitting


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """Holds a task back from whoever sits in its role now, because `connection` had it and may still be running.

    `machine` is the one whose daemon beat for that connection; `until` is the last moment, in monotonic seconds.
    """

    task: str
    room: str
    role: str
    connection: str
    machine: str | None
    until: float


def is_needed(older: Sitting) -> bool:
    """Tell whether what a sitting held is held back when a newer one takes its role.

    Only for one that is present: it hears of the takeover with its next beat, and stops. Of one that is silent no word
    is to be expected.
    """
    return older.status == PRESENT


def guard(task: str, older: Sitting, now: float, limits: Reliability) -> Guard:
    """The guard over a task that was taken over from `older` at `now`."""
    return Guard(
        task=task,
        room=older.room,
        role=older.role,
        connection=older.connection_id,
        machine=older.machine,
        until=now + limits.takeover_grace_s,
    )


def is_dropped(guard: Guard, machine: str, named: Collection[tuple[str, str, str]]) -> bool:
    """Tell whether a beat of a machine, which names (room, role, connection), shows that it runs that agent no more."""
    return guard.machine == machine and (guard.room, guard.role, guard.connection) not in named
