"""Decides when a task that was taken over may be claimed: once its former holder's run is known to have stopped.

Options: `takeover_grace_s` is the longest time that the task waits.
Limits: where no report of the stop comes, the task becomes claimable after that time although the run may continue.
"""

from collections.abc import Collection

import msgspec

from greenroom.domain.limits import Limits
from greenroom.domain.participant import PRESENT, Participant


class TakeoverHold(msgspec.Struct, frozen=True, kw_only=True):
    """Holds a task back from its role's new participant, because `connection` held it and may still be running.

    `machine` is the one whose daemon beat for that connection; `until` is when the hold ends, in monotonic seconds.
    """

    task: str
    room: str
    role: str
    connection: str
    machine: str | None
    until: float


def needs_hold(older: Participant) -> bool:
    """Return whether the task of an older participant is held back when a newer one takes its role.

    Only if the older one is present: it receives the takeover with its next beat, and stops. From an absent one no
    report is to be expected.
    """
    return older.status == PRESENT


def make_hold(task: str, older: Participant, now: float, limits: Limits) -> TakeoverHold:
    """Return the hold on a task that was taken over from `older` at `now`."""
    return TakeoverHold(
        task=task,
        room=older.room,
        role=older.role,
        connection=older.connection_id,
        machine=older.machine,
        until=now + limits.takeover_grace_s,
    )


def is_stopped_by(guard: TakeoverHold, machine: str, listed: Collection[tuple[str, str, str]]) -> bool:
    """Return whether a machine's beat, which lists (room, role, connection), shows that the run has stopped."""
    return guard.machine == machine and (guard.room, guard.role, guard.connection) not in listed
