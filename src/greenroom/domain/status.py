"""The one function that says how a role is doing. Must not know tables; everyone who shows a status asks here."""

import msgspec

from greenroom.domain import role as roles

WAITING = "waiting"
WORKING = "working"
STARTING = "starting"
STOPPING = "stopping"
BACKING_OFF = "backing_off"
UNKNOWN = "unknown"
OFFLINE = "offline"
STOPPED = "stopped"
VACANT = "vacant"


class RoleStatus(msgspec.Struct, frozen=True):
    """A status word, why it is so in a person's words, and until when it is expected to last, if that is known."""

    status: str
    reason: str | None = None
    until: str | None = None


class Signs(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a role at one moment."""

    present: bool
    working: bool
    machine: str | None = None
    machine_connected: bool = False
    machine_silent: bool = False
    backing_off_until: str | None = None
    last_exit: str | None = None
    waits_for: str | None = None
    waits_until: str | None = None


def judge(role: roles.Role, signs: Signs) -> RoleStatus:
    """Judge how a role is doing from its wish and the signs. The first rule that fits, holds."""
    wish = role.desired_reason or (f"stopped by {role.desired_by}" if role.desired_by else "stopped")
    if signs.present:
        if signs.machine_silent:
            return RoleStatus(UNKNOWN, f"machine {signs.machine} has not been heard of for more than an interval")
        if role.desired == roles.STOPPED:
            return RoleStatus(STOPPING, wish)
        if signs.working:
            return RoleStatus(WORKING)
        return RoleStatus(WAITING, signs.waits_for, signs.waits_until)
    if role.desired == roles.STOPPED:
        return RoleStatus(STOPPED, wish)
    if role.kind == roles.CUSTOM:
        return RoleStatus(VACANT, "nobody has joined; a person runs this agent")
    if signs.machine is None:
        return RoleStatus(VACANT, "no machine is chosen for this agent")
    if not signs.machine_connected:
        return RoleStatus(OFFLINE, f"machine {signs.machine} is not connected")
    if signs.backing_off_until is not None:
        return RoleStatus(BACKING_OFF, signs.last_exit, signs.backing_off_until)
    return RoleStatus(STARTING, f"machine {signs.machine} is about to run it")
