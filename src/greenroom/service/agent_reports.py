"""Accepts the reports of daemons on their processes, once each and in order, and applies them.

Every report becomes an event. Its other effects depend on its source. An `exited` releases the attempt that it names,
if its participant still holds the task. The restart hold of a role changes only by a report on the role's newest
participant, from the machine that the role is assigned to, under the current generation. Other implementations of a
daemon may leave fields out: those are filled in from the state of the role.
"""

from typing import Final

import msgspec

from greenroom.clock import format_instant, parse_instant
from greenroom.domain import principal as callers
from greenroom.domain.errors import Superseded
from greenroom.domain.event import room_stream
from greenroom.domain.machine import Machine, judge_incarnation
from greenroom.domain.participant import CLOSED, SUPERSEDED, Participant
from greenroom.domain.principal import Principal
from greenroom.domain.role import BACKING_OFF, CRASH_LOOPING, PAUSED, RUNNING, Role
from greenroom.domain.room import OPEN, Room
from greenroom.domain.task import EXITED, STOPPED, is_held_by
from greenroom.service import authorization, participant_transitions, restart_holds, takeovers, task_transitions
from greenroom.service.context import ServiceContext
from greenroom.store import machines, participants, rooms, tasks
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import ReportsReply
from greenroom.wire.requests import AgentReport, ReportBatch

HOLD_KINDS: Final = (CRASH_LOOPING, PAUSED)
"""The kinds of reports that are named like the restart hold which they set."""


def accept_reports(
    context: ServiceContext, tx: Transaction, principal: Principal, machine_id: str, request: ReportBatch
) -> ReportsReply:
    """Accept a daemon's reports in the order given. Reports that were accepted before change nothing.

    Raises Superseded for an older incarnation.
    """
    machine = authorization.get_machine(tx, principal, machine_id)
    epoch = machines.get_incarnation_epoch(tx, machine.id, request.incarnation)
    if judge_incarnation(epoch, machine.incarnation_epoch) == SUPERSEDED:
        raise Superseded(
            f"Machine {machine.name} has a newer incarnation.", "Stop this daemon: a newer one runs this machine."
        )
    accepted = 0
    for report in request.reports:
        if machines.record_report(tx, machine.id, report.id):
            accepted += accept_report(context, tx, principal, machine, report)
    return ReportsReply(status="ok", accepted=accepted)


def accept_report(
    context: ServiceContext, tx: Transaction, principal: Principal, machine: Machine, report: AgentReport
) -> bool:
    """Accept one report; False when its role does not exist or is not the machine's: such a report is dropped."""
    room = rooms.get(tx, report.room)
    role = rooms.get_role(tx, room.id, report.role) if room is not None else None
    if room is None or role is None:
        return False
    participant = participants.get(tx, room.id, role.name, report.connection_id)
    is_own = participant is not None and principal.machine is not None and participant.machine == principal.machine
    if not is_own and not callers.may_participate(
        principal, room.id, role.name, role.machine if role.is_run_by_daemon else None
    ):
        return False
    report = fill_defaults(role, participant, report)
    data = {name: getattr(report, name) for name in AgentReport.__struct_fields__ if name not in ("id", "kind", "room")}
    tx.record_event(room_stream(room.id), f"agent.{report.kind}", report.detail or report.kind, data)
    if report.kind == "exited":
        takeovers.record_stop(context, tx, room.id, role.name, report.connection_id, report.task)
        release_attempt(context, tx, role, report)
        if not report.intended:
            end_participant(context, tx, role, participant, EXITED, report)
        elif not should_run_on(room, role, machine):
            end_participant(context, tx, role, participant, STOPPED, report)
    if may_change_hold(role, machine, participant, report):
        if report.kind in HOLD_KINDS:
            # A role crash-loops only after a failure: this report counts as one, unless an `exited` came before it.
            end_participant(context, tx, role, participant, EXITED if report.kind == CRASH_LOOPING else STOPPED, report)
        apply_restart_hold(
            context, tx, room, report, had_ended=participant is not None and participant.status == CLOSED
        )
    return True


def fill_defaults(role: Role, participant: Participant | None, report: AgentReport) -> AgentReport:
    """The report with defaults for absent fields: the newest participant of a crash-looping role is its probe run."""
    is_newest = participant is not None and participant.status != CLOSED and participant.epoch == role.epoch
    probe = (role.hold == CRASH_LOOPING and is_newest) if report.probe is None else report.probe
    return msgspec.structs.replace(report, intended=bool(report.intended), probe=probe)


def should_run_on(room: Room, role: Role, machine: Machine) -> bool:
    """Whether the role's agent should run on that machine. If not, even an intended exit ends its participant."""
    should_run = room.status == OPEN and role.desired == RUNNING
    return should_run and role.is_run_by_daemon and role.machine == machine.id


def may_change_hold(role: Role, machine: Machine, participant: Participant | None, report: AgentReport) -> bool:
    """Whether a report may change the restart hold of its role. One about an earlier state becomes only an event."""
    is_assigned = role.is_run_by_daemon and role.machine == machine.id
    is_newest = participant is not None and participant.epoch == role.epoch
    return is_assigned and is_newest and report.generation in (None, role.generation)


def apply_restart_hold(
    context: ServiceContext, tx: Transaction, room: Room, report: AgentReport, had_ended: bool
) -> None:
    """Set or clear the restart hold of a role.

    `had_ended`: the participant had ended before this report. Then an `exited` does not replace the `crash_looping` or
    `paused` hold that it led to.
    """
    role = rooms.get_role(tx, room.id, report.role)
    assert role is not None
    until = parse_report_time(report.until)
    if report.kind in HOLD_KINDS:
        restart_holds.set_hold(
            tx, room, role, report.kind, until, get_first_line(report) or role.last_exit or report.kind
        )
    elif report.kind == "exited" and not report.intended:
        if report.probe:
            # The `crash_looping` report that follows has the reason for which the role waits for a user.
            restart_holds.set_hold(tx, room, role, CRASH_LOOPING, until or role.hold_until, describe_exit(report))
        elif not (had_ended and role.hold in HOLD_KINDS):
            latest = format_instant(parse_instant(tx.now.instant) + context.limits.restart_backoff_s_max)
            restart_holds.set_hold(tx, room, role, BACKING_OFF, until or latest, describe_exit(report))
    elif report.kind == "recovered" and role.hold == CRASH_LOOPING:
        restart_holds.clear_hold(tx, room, role, "the probe run succeeded")


def release_attempt(context: ServiceContext, tx: Transaction, role: Role, report: AgentReport) -> None:
    """Release the attempt whose process exited, if it still holds its task. No other sign of an end is as certain."""
    task = tasks.get(tx, report.task) if report.task is not None else None
    if task is None or report.attempt is None or task.room != role.room:
        return
    if is_held_by(task, report.connection_id, report.attempt):
        # To find the fault a user needs the command's last output, which is in the detail.
        cause = describe_exit(report) if report.intended else report.detail or describe_exit(report)
        task_transitions.release(
            context, tx, task, STOPPED if report.intended else EXITED, cause, is_probe=bool(report.probe)
        )


def end_participant(
    context: ServiceContext,
    tx: Transaction,
    role: Role,
    participant: Participant | None,
    end_cause: str,
    report: AgentReport,
) -> None:
    """End the participant of an agent that failed, or whose daemon holds its restart."""
    if participant is not None and participant.status != CLOSED and participant.epoch >= role.epoch:
        cause = describe_exit(report)
        participant_transitions.close_participant(
            context, tx, participant, end_cause, cause, release_as=end_cause, is_probe=bool(report.probe)
        )


def describe_exit(report: AgentReport) -> str:
    """How a process ended, as a text for users."""
    if report.kind != "exited":
        return get_first_line(report) or report.kind
    if report.intended:
        return "stopped as requested" if report.code != 0 else "exited as expected"
    if report.signal is not None:
        return f"killed by signal {report.signal}"
    if report.code is not None:
        return f"exited with code {report.code}"
    return get_first_line(report) or "exited"


def get_first_line(report: AgentReport) -> str | None:
    """The first line of a report's detail; None if there is none."""
    return report.detail.strip().partition("\n")[0] or None if report.detail else None


def parse_report_time(text: str | None) -> str | None:
    """An instant in the server's format; None if it is invalid: a daemon's clock is shown and decides nothing."""
    if text is None:
        return None
    try:
        return format_instant(parse_instant(text))
    except (ValueError, OverflowError):
        return None
