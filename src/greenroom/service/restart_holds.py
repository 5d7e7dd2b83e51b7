"""Sets and clears restart holds (backing off, crash-looping, paused) as daemons report them, with their alerts.

A role that is crash-looping or paused without an end is not restarted until a user acts. An alert says so, until the
agent spec changes, a participant is present, or the role or room is removed or closed.
"""

from typing import Final

import msgspec

from greenroom.domain.alert import alert_key
from greenroom.domain.role import CRASH_LOOPING, PAUSED, RUNNING, Role
from greenroom.domain.room import OPEN, Room
from greenroom.domain.task import Task
from greenroom.service import alerts
from greenroom.service.alert_content import AlertFacts
from greenroom.service.state.lease_table import role_key
from greenroom.store import participants, rooms
from greenroom.store.transaction import Transaction

NO_HOLD: Final[dict[str, str | None]] = {"hold": None, "hold_until": None, "last_exit": None}


def set_hold(tx: Transaction, room: Room, role: Role, hold: str, until: str | None, why: str) -> None:
    """Set a restart hold until an instant; without one, a crash-looping or paused agent waits for a user."""
    save_hold(tx, room, role, {"hold": hold, "hold_until": until, "last_exit": why}, why)


def clear_hold(tx: Transaction, room: Room, role: Role, cause: str) -> None:
    """Clear the restart hold."""
    save_hold(tx, room, role, NO_HOLD, cause)


def record_success(tx: Transaction, room: Room, held: Task) -> None:
    """Clear the hold of a crash-looping role whose agent completed a task: its daemon's probe run succeeded."""
    role = rooms.get_role(tx, held.room, held.target_role)
    if role is None or role.hold != CRASH_LOOPING or held.claimed_by is None:
        return
    holder = participants.get(tx, held.room, held.target_role, held.claimed_by)
    if holder is not None and holder.machine is not None:
        clear_hold(tx, room, role, "the probe run completed its task")


def save_hold(tx: Transaction, room: Room, role: Role, hold: dict[str, str | None], cause: str) -> None:
    changed = msgspec.structs.replace(role, **hold)
    if changed != role:
        rooms.save_role(tx, role, changed)
    if role.needs_user or changed.needs_user:
        update_hold_alert(tx, room, changed, cause)


def hold_after_join(role: Role, by_daemon: bool) -> Role:
    """The role after a participant joined. A join by its daemon clears the restart hold, which is over then.

    Crash-looping stays set during the probe run. A join by a user's own agent clears nothing.
    """
    is_probe_run = role.hold == CRASH_LOOPING
    return msgspec.structs.replace(role, **NO_HOLD) if by_daemon and not is_probe_run else role


def update_hold_alert(tx: Transaction, room: Room, role: Role, cause: str) -> None:
    """Raise the alert that a role's agent needs a user, if it does; otherwise resolve it, with the cause."""
    should_run = room.status == OPEN and role.removed_at is None and role.is_run_by_daemon and role.desired == RUNNING
    needs_user = should_run and role.needs_user and participants.get_present(tx, room.id, role.name) is None
    for hold in (CRASH_LOOPING, PAUSED):
        subject = role_key(room.id, role.name)
        if needs_user and role.hold == hold:
            alerts.raise_alert(tx, AlertFacts(kind=hold, subject=subject, room=room, role=role))
        else:
            alerts.resolve_alert(tx, alert_key(hold, subject), cause)
