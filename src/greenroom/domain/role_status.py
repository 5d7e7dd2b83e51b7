"""Decides the status of a role. Every view that shows a status calls `decide_status`."""

import msgspec

from greenroom.domain import role as roles

WAITING = "waiting"
WORKING = "working"
STARTING = "starting"
STOPPING = "stopping"
BACKING_OFF = roles.BACKING_OFF
CRASH_LOOPING = roles.CRASH_LOOPING
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


class RoleObservation(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a role at one moment, which is `now`. `role_path` is the role as users write it: ROOM/ROLE.

    `machine` is the one that its agent spec names; `previous_machine` is the one that its participant still runs on
    although the spec names another. `is_probe_run`: its daemon runs it although it is crash-looping (a probe run).
    `starts_until` and `stops_until` are when a start or a stop should be complete at the latest.
    """

    role_path: str
    now: str
    present: bool
    working: bool
    is_probe_run: bool = False
    machine: str | None = None
    previous_machine: str | None = None
    machine_connected: bool = False
    machine_silent: bool = False
    starts_until: str | None = None
    stops_until: str | None = None
    waits_for: str | None = None
    waits_until: str | None = None


def decide_status(role: roles.Role, signs: RoleObservation) -> RoleStatus:
    """Return the status of a role, from its agent spec and the signs. The first rule that applies decides."""
    return decide_present_status(role, signs) if signs.present else decide_absent_status(role, signs)


def decide_present_status(role: roles.Role, signs: RoleObservation) -> RoleStatus:
    """Return the status of a role with a present participant."""
    if signs.machine_silent:
        return silent_machine_status(signs.previous_machine or signs.machine)
    if role.desired == roles.STOPPED:
        return transient_status(
            STOPPING, stop_reason(role), signs.stops_until, "the agent should have stopped by now", signs
        )
    if signs.previous_machine is not None:
        target = f"machine {signs.machine}" if role.is_run_by_daemon else "an agent that a user runs"
        reason = f"the role was moved from machine {signs.previous_machine} to {target}"
        return transient_status(
            STOPPING, reason, signs.stops_until, "the agent there should have stopped by now", signs
        )
    is_probe_run = f"probe run after crash-looping: {role.last_exit}" if signs.is_probe_run else None
    if signs.working:
        return RoleStatus(WORKING, is_probe_run)
    return RoleStatus(WAITING, signs.waits_for or is_probe_run, signs.waits_until)


def decide_absent_status(role: roles.Role, signs: RoleObservation) -> RoleStatus:
    """Return the status of a role without a present participant."""
    if role.desired == roles.STOPPED:
        return RoleStatus(STOPPED, stop_reason(role))
    if role.kind == roles.CUSTOM:
        return RoleStatus(VACANT, "no agent is present; a user runs this agent")
    if signs.machine is None:
        return RoleStatus(VACANT, "no machine is set for this agent")
    if role.hold is not None and role.needs_user:
        return RoleStatus(role.hold, restart_advice(role, signs.role_path))
    if not signs.machine_connected:
        return RoleStatus(OFFLINE, f"machine {signs.machine} is not connected")
    if role.hold is not None and role.hold_until is not None and role.hold_until > signs.now:
        return RoleStatus(role.hold, role.last_exit, role.hold_until)
    if signs.machine_silent:
        return silent_machine_status(signs.machine)
    action = "start a probe run" if role.hold == roles.CRASH_LOOPING else "start the agent"
    reason = f"machine {signs.machine} is about to {action}"
    return transient_status(STARTING, reason, signs.starts_until, "it should have started by now", signs)


def transient_status(status: str, reason: str, until: str | None, overdue: str, signs: RoleObservation) -> RoleStatus:
    """Return a status that should pass by itself; once it is overdue, the reason says so, and what to run."""
    if until is not None and until < signs.now:
        return RoleStatus(status, f"{reason}; {overdue}: see `greenroom why {signs.role_path}`", until)
    return RoleStatus(status, reason, until)


def silent_machine_status(machine: str | None) -> RoleStatus:
    return RoleStatus(UNKNOWN, f"no heartbeat from machine {machine} for more than one interval")


def stop_reason(role: roles.Role) -> str:
    """Return why a role's agent is not to run."""
    return role.desired_reason or (f"stopped by {role.desired_by}" if role.desired_by else "stopped")


def restart_advice(role: roles.Role, role_path: str) -> str:
    """Return what a user has to do about a role whose agent is not restarted until a user acts."""
    instruction = f"fix the cause, then run `greenroom agent restart {role_path}`"
    return f"{role.last_exit}; {instruction}" if role.last_exit else instruction
