"""Decides the status of a role. Every view that shows a status calls `judge`."""

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
    """A status word, the reason in plain words, and until when it is expected to last, if that is known."""

    status: str
    reason: str | None = None
    until: str | None = None


class Signs(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a role at one moment, which is `now`. `seat` is the role as users write it: ROOM/ROLE.

    `machine` is the one that its agent spec names; `moves_from` is the one that its participant still runs on although
    the spec names another. `on_trial`: its daemon runs it although it is crash-looping (a probe run). `starts_until`
    and `stops_until` are when a start or a stop should be complete at the latest.
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
    """Return the status of a role, from its agent spec and the signs. The first rule that applies decides."""
    return judge_present(role, signs) if signs.present else judge_absent(role, signs)


def judge_present(role: roles.Role, signs: Signs) -> RoleStatus:
    """Return the status of a role with a present participant."""
    if signs.machine_silent:
        return silent(signs.moves_from or signs.machine)
    if role.desired == roles.STOPPED:
        return passing(STOPPING, wish_of(role), signs.stops_until, "the agent should have stopped by now", signs)
    if signs.moves_from is not None:
        target = f"machine {signs.machine}" if role.is_run_by_daemon else "an agent that a user runs"
        reason = f"the role was moved from machine {signs.moves_from} to {target}"
        return passing(STOPPING, reason, signs.stops_until, "the agent there should have stopped by now", signs)
    on_trial = f"probe run after crash-looping: {role.last_exit}" if signs.on_trial else None
    if signs.working:
        return RoleStatus(WORKING, on_trial)
    return RoleStatus(WAITING, signs.waits_for or on_trial, signs.waits_until)


def judge_absent(role: roles.Role, signs: Signs) -> RoleStatus:
    """Return the status of a role without a present participant."""
    if role.desired == roles.STOPPED:
        return RoleStatus(STOPPED, wish_of(role))
    if role.kind == roles.CUSTOM:
        return RoleStatus(VACANT, "no agent is present; a user runs this agent")
    if signs.machine is None:
        return RoleStatus(VACANT, "no machine is set for this agent")
    if role.rests_as is not None and role.awaits_person:
        return RoleStatus(role.rests_as, advice(role, signs.seat))
    if not signs.machine_connected:
        return RoleStatus(OFFLINE, f"machine {signs.machine} is not connected")
    if role.rests_as is not None and role.rests_until is not None and role.rests_until > signs.now:
        return RoleStatus(role.rests_as, role.last_exit, role.rests_until)
    if signs.machine_silent:
        return silent(signs.machine)
    action = "start a probe run" if role.rests_as == roles.PARKED else "start the agent"
    reason = f"machine {signs.machine} is about to {action}"
    return passing(STARTING, reason, signs.starts_until, "it should have started by now", signs)


def passing(status: str, reason: str, until: str | None, overdue: str, signs: Signs) -> RoleStatus:
    """Return a status that should pass by itself; once it is overdue, the reason says so, and what to run."""
    if until is not None and until < signs.now:
        return RoleStatus(status, f"{reason}; {overdue}: see `greenroom why {signs.seat}`", until)
    return RoleStatus(status, reason, until)


def silent(machine: str | None) -> RoleStatus:
    return RoleStatus(UNKNOWN, f"no heartbeat from machine {machine} for more than one interval")


def wish_of(role: roles.Role) -> str:
    """Return why a role's agent is not to run."""
    return role.desired_reason or (f"stopped by {role.desired_by}" if role.desired_by else "stopped")


def advice(role: roles.Role, seat: str) -> str:
    """Return what a user has to do about a role whose agent is not restarted until a user acts."""
    instruction = f"fix the cause, then run `greenroom agent restart {seat}`"
    return f"{role.last_exit}; {instruction}" if role.last_exit else instruction
