"""`greenroom why ROOM/ROLE`: explains the status of a role from its record: tasks, absences, events and limits.

The limits shown are those that matter for the status, with the values that the server uses.
"""

from argparse import Namespace
from collections.abc import Iterator
from typing import TextIO

import msgspec

from greenroom.cli.connection import open_session
from greenroom.cli.display_text import first_line
from greenroom.cli.event_text import format_history
from greenroom.cli.role_history import AbsenceGap, RoleHistory, read_role_history
from greenroom.cli.status_tables import QUEUED_REASON, advise, advise_on_queue, format_status
from greenroom.cli.terminal import format_clock_time, format_duration, print_json, print_lines, seconds_until
from greenroom.client.api_client import ApiClient
from greenroom.clock import SystemClock, parse_instant
from greenroom.domain.errors import NotFound, Refused
from greenroom.domain.limits import variable_name
from greenroom.domain.role import EMPTY_FAILURE, REMOTE
from greenroom.domain.role_status import (
    BACKING_OFF,
    CRASH_LOOPING,
    OFFLINE,
    PAUSED,
    STARTING,
    STOPPING,
    UNKNOWN,
    VACANT,
    WAITING,
    WORKING,
)
from greenroom.domain.room import OPEN
from greenroom.domain.task import QUARANTINED, QUEUED
from greenroom.exit_codes import ExitCode
from greenroom.settings.resolve import Settings
from greenroom.wire.replies import RoleView

SERVER = "server"
SHELL = "shell"

AGENT_HEARTBEAT_LIMITS = ("heartbeat_interval_s", "heartbeat_ttl_s")
DAEMON_HEARTBEAT_LIMITS = ("daemon_heartbeat_interval_s", "daemon_heartbeat_ttl_s")
RESTART_LIMITS = (
    "restart_backoff_s_min",
    "restart_backoff_s_max",
    "restart_reset_s",
    "crash_loop_after_failures",
    "crash_loop_window_s",
)
LIMITS_BY_STATUS: dict[str, tuple[str, ...]] = {
    WORKING: ("task_lost_after_s", "task_failures_max", "work_lease_s"),
    STARTING: ("start_timeout_s",),
    STOPPING: ("stop_grace_s", "takeover_grace_s"),
    BACKING_OFF: RESTART_LIMITS,
    CRASH_LOOPING: (
        "crash_loop_after_failures",
        "crash_loop_window_s",
        "crash_loop_probe_after_s",
        "task_failures_max",
    ),
    PAUSED: ("restart_backoff_s_max",),
    UNKNOWN: ("task_lost_after_s",),
    OFFLINE: ("task_lost_after_s",),
    VACANT: ("task_pending_timeout_s",),
}
"""The limits that matter in each status, besides those of heartbeats."""
DAEMON_LIMITS = (*RESTART_LIMITS, "crash_loop_probe_after_s", "stop_grace_s")
"""Limits that a machine's daemon applies, with the values of its own environment."""
COMMON_LIMITS = (*AGENT_HEARTBEAT_LIMITS, *DAEMON_HEARTBEAT_LIMITS, "sweep_interval_s")
LIMIT_NAMES = tuple(dict.fromkeys((*COMMON_LIMITS, *(name for names in LIMITS_BY_STATUS.values() for name in names))))

REASON_CHARACTERS = 300
DECIMALS_BELOW_S = 60.0
"""Seconds below which an absence is shown with decimals."""


class LimitsInForce(msgspec.Struct, frozen=True, kw_only=True):
    """Values of limits by name. `origin` is `server`, or `shell` for this process's own settings."""

    values: dict[str, float]
    origin: str

    def format_lines(self, role: RoleView) -> Iterator[str]:
        """Lines with the limits that matter for a role, after a heading that names their origin."""
        if self.origin == SERVER:
            yield "limits in force, as the server reports them:"
        else:
            yield "limits from the settings of this shell (the server may use others):"
        names = limit_names_for(role)
        yield from (f"  {name} = {self.values[name]:g}   ({variable_name(name)})" for name in names)
        if self.origin == SERVER and role.machine and set(names) & set(DAEMON_LIMITS):
            yield "  (the machine's daemon restarts and stops the agent; if its own variables differ, they apply)"


def limit_names_for(role: RoleView) -> tuple[str, ...]:
    """The names of the limits that explain the status of a role."""
    beats = DAEMON_HEARTBEAT_LIMITS if role.machine else AGENT_HEARTBEAT_LIMITS
    return (*beats, "sweep_interval_s", *LIMITS_BY_STATUS.get(role.status, ()))


def read_limits_in_force(session: ApiClient) -> LimitsInForce:
    """Ask the server for its limits. An older server, or a token without that permission, gives the shell's values."""
    values = {name: float(getattr(session.limits, name)) for name in LIMIT_NAMES}
    try:
        reported = session.server_limits()
    except (NotFound, Refused):
        return LimitsInForce(values=values, origin=SHELL)
    return LimitsInForce(
        values=values | {name: reported[name] for name in LIMIT_NAMES if name in reported}, origin=SERVER
    )


def run(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    session = open_session(settings)
    evidence = read_role_history(session, arguments.role_address)
    limits = read_limits_in_force(session)
    now = SystemClock().wall()
    if arguments.json:
        document = {"limits": limits.values, "limits_of": limits.origin, "next": next_step(evidence, now)}
        print_json(out, msgspec.structs.asdict(evidence) | document)
    else:
        print_lines(out, format_lines(evidence, limits, now))
    return ExitCode.DONE


def format_lines(evidence: RoleHistory, limits: LimitsInForce, now: float) -> Iterator[str]:
    """The lines of the explanation: status, tasks, absences, events, limits in force, and what to do next."""
    yield from format_role(evidence, now)
    yield from format_tasks(evidence)
    if evidence.gaps:
        yield "\nabsences:"
        yield from (f"  {format_gap(gap, now)}" for gap in evidence.gaps)
    yield "\nhistory, oldest first (UTC):"
    yield from (f"  {line}" for line in format_history(evidence.events, evidence.machine_names))
    if not evidence.events:
        yield "  no events yet"
    yield ""
    yield from limits.format_lines(evidence.role)
    yield f"\nnext: {next_step(evidence, now)}"


def next_step(evidence: RoleHistory, now: float) -> str:
    """What to do next."""
    quarantined = next((task for task in evidence.tasks if task.status == QUARANTINED), None)
    if quarantined is not None:
        return f"a quarantined task needs you: greenroom task show {quarantined.id}"
    queued = [task.status == QUEUED for task in evidence.tasks]
    if evidence.role.status == WAITING and queued and all(queued):
        return f"{advise_on_queue(evidence.room)}; to see what runs first: greenroom status"
    held = next((task.id for task in evidence.tasks if task.claimed_by), None)
    return advise(evidence.room, evidence.room_status == OPEN, evidence.role, held, now)


def format_role(evidence: RoleHistory, now: float) -> Iterator[str]:
    """The status of the role, its agent spec, its participant and machine, and their last heartbeats."""
    role = evidence.role
    until = f" (until {format_clock_time(role.status_until)})" if role.status_until else ""
    because = f": {first_line(role.status_reason, REASON_CHARACTERS)}" if role.status_reason else ""
    yield f"{evidence.room}/{role.name} is {format_status(role, now)}{until}{because}"
    by = f", by {role.desired_by}" if role.desired_by else ""
    at = f" at {format_clock_time(role.configured_at)}" if role.configured_at else ""
    why = f": {role.desired_reason}" if role.desired_reason else ""
    machine_name = evidence.machine_names.get(role.machine or "", role.machine)
    where = f" on {machine_name} with {role.harness}" if role.machine else ""
    yield f"  desired: {role.desired}, {role.kind}{where} (generation {role.generation}{by}{at}{why})"
    if role.task_timeout_s is not None:
        timeout = format_duration(role.task_timeout_s)
        yield f"  task timeout: {timeout}; then its run is stopped, which counts as a failure"
    if role.empty == EMPTY_FAILURE:
        yield "  a run that ends with 0 and prints nothing counts as a failure"
    participant = evidence.participant
    if participant is not None:
        if role.status == WORKING and participant.joined_at < (role.configured_at or ""):
            yield "  the run at work began under an earlier agent spec, and is finished first"
        since = format_clock_time(participant.joined_at)
        yield f"  present: {participant.connection_id} (epoch {participant.epoch}) since {since}"
        yield f"  its lease lasts until {format_clock_time(participant.ready_until)}; every heartbeat renews it"
    yield f"  last seen: {format_seen(role.last_seen_at, now)}"
    machine = evidence.machine
    if machine is not None:
        state = "connected" if machine.daemon_connected else "not connected"
        yield f"  machine {machine.name}: {state}, last heartbeat: {format_seen(machine.last_seen_at, now)}"


def format_seen(at: str | None, now: float) -> str:
    """Format the time of a heartbeat, and how long ago it was."""
    if at is None:
        return "never"
    return f"{format_clock_time(at)}, {format_duration(-seconds_until(at, now))} ago"


def format_tasks(evidence: RoleHistory) -> Iterator[str]:
    """The role's open tasks."""
    for task in evidence.tasks:
        held = f", held by {task.claimed_by}" if task.claimed_by else ""
        released = f", released: {task.released_cause}" if task.released_cause and not task.claimed_by else ""
        reason = QUEUED_REASON if task.status == QUEUED else task.reason
        why = f": {first_line(reason, REASON_CHARACTERS)}" if reason else ""
        failures = f"{task.failures} failure{'' if task.failures == 1 else 's'}"
        yield f"  task {task.id} is {task.status} (attempt {task.attempt}, {failures}{held}{released}){why}"
        if task.attempt and evidence.role.kind == REMOTE:
            folder = f"logs/{evidence.room}/{task.target_role}/{task.id}.{task.attempt}/"
            yield f"    output of that attempt: {folder} in the data directory of the machine that ran it"


def format_gap(gap: AbsenceGap, now: float) -> str:
    """Format one absence."""
    subject = f"machine {gap.machine}" if gap.machine else "the role"
    if gap.until is None:
        length = format_duration(now - parse_instant(gap.since))
        return f"{subject}: since {format_clock_time(gap.since)}, for {length} ({gap.cause})"
    away_s = gap.seconds or 0.0
    seconds = f"{away_s:g} s" if away_s < DECIMALS_BELOW_S else format_duration(away_s)
    ending = "reconnected" if gap.machine or gap.ended_by == "participant.rejoined" else "a new participant joined"
    period = f"{format_clock_time(gap.since)} to {format_clock_time(gap.until)}"
    return f"{subject}: {period}, {seconds} ({gap.cause}); {ending}"
