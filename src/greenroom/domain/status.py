"""The one function that says how a role is doing. Must not know tables; everyone who shows a status asks here."""

import msgspec

from greenroom.domain import role as roles

WAITING = "waiting"
WORKING = "working"
STARTING = "starting"
STOPPING = "stopping"
BACKING_OFF = roles.BACKING_OFF
PARKED = roles.PARKED
PAUSED = roles.PAUSED
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
    """What is known about a role at one moment, which is `now`. `seat` is how people write the role: ROOM/ROLE.

    `machine` is the one that is wished for it, `moves_from` the one that its participant still sits on although another
    is wished; `on_trial` of one that its daemon runs although it is parked. `starts_until` and `stops_until` are when
    that should be done at the latest.
    """

    seat: str
    now: str
    present: bool
    working: bool
    on_trial: bool = False
    machine: str | None = None
    moves_from: str | None = None
    machine_connected: bool = False
    machine_silent: bool = False
    starts_until: str | None = None
    stops_until: str | None = None
    waits_for: str | None = None
    waits_until: str | None = None


def judge(role: roles.Role, signs: Signs) -> RoleStatus:
    """Judge how a role is doing from its wish and the signs. The first rule that fits, holds."""
    return judge_present(role, signs) if signs.present else judge_absent(role, signs)


def judge_present(role: roles.Role, signs: Signs) -> RoleStatus:
    """Judge a role in which somebody sits."""
    if signs.machine_silent:
        return silent(signs.moves_from or signs.machine)
    if role.desired == roles.STOPPED:
        return passing(STOPPING, wish_of(role), signs.stops_until, "it should have stopped by now", signs)
    if signs.moves_from is not None:
        to = f"machine {signs.machine}" if role.is_run_by_daemon else "a person"
        moved = f"the role was moved from machine {signs.moves_from} to {to}"
        return passing(STOPPING, moved, signs.stops_until, "the agent there should have stopped by now", signs)
    on_trial = f"on trial after it was parked: {role.last_exit}" if signs.on_trial else None
    if signs.working:
        return RoleStatus(WORKING, on_trial)
    return RoleStatus(WAITING, signs.waits_for or on_trial, signs.waits_until)


def judge_absent(role: roles.Role, signs: Signs) -> RoleStatus:
    """Judge a role in which nobody sits."""
    if role.desired == roles.STOPPED:
        return RoleStatus(STOPPED, wish_of(role))
    if role.kind == roles.CUSTOM:
        return RoleStatus(VACANT, "nobody sits there; a person runs this agent")
    if signs.machine is None:
        return RoleStatus(VACANT, "no machine is chosen for this agent")
    if role.rests_as is not None and role.awaits_person:
        return RoleStatus(role.rests_as, advice(role, signs.seat))
    if not signs.machine_connected:
        return RoleStatus(OFFLINE, f"machine {signs.machine} is not connected")
    if role.rests_as is not None and role.rests_until is not None and role.rests_until > signs.now:
        return RoleStatus(role.rests_as, role.last_exit, role.rests_until)
    if signs.machine_silent:
        return silent(signs.machine)
    what = "run it on trial" if role.rests_as == roles.PARKED else "run it"
    soon = f"machine {signs.machine} is about to {what}"
    return passing(STARTING, soon, signs.starts_until, f"machine {signs.machine} should {what} by now", signs)


def passing(status: str, reason: str, until: str | None, overdue: str, signs: Signs) -> RoleStatus:
    """A state that is to pass by itself: once it should have, that is said, and where to look."""
    if until is not None and until < signs.now:
        return RoleStatus(status, f"{reason}; {overdue}: see `greenroom why {signs.seat}`", until)
    return RoleStatus(status, reason, until)


def silent(machine: str | None) -> RoleStatus:
    return RoleStatus(UNKNOWN, f"machine {machine} has not been heard of for more than an interval")


def wish_of(role: roles.Role) -> str:
    """Why a role's agent is not to run."""
    return role.desired_reason or (f"stopped by {role.desired_by}" if role.desired_by else "stopped")


def advice(role: roles.Role, seat: str) -> str:
    """What a person has to do about a role whose agent rests until somebody does something."""
    then = f"see to that, then run it again with `greenroom agent restart {seat}`"
    return f"{role.last_exit}; {then}" if role.last_exit else then
