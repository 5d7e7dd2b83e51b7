"""Accepts the reports of daemons on their processes, once each and in order, and applies them.

`domain.agent_report` decides what a report changes. This module loads the facts for that decision, and applies its
effects in the same transaction. Other implementations of a daemon may leave fields out: those are filled in from the
state of the role.
"""

import msgspec

from greenroom.clock import format_instant, parse_instant
from greenroom.domain import principal as callers
from greenroom.domain.agent_report import (
    EXIT_REPORT,
    ClearRestartHold,
    CloseParticipant,
    EndTakeoverHolds,
    RecordReport,
    ReleaseTask,
    ReportEffect,
    ReportSubject,
    SetRestartHold,
    decide_effects,
)
from greenroom.domain.errors import Superseded
from greenroom.domain.event import room_stream
from greenroom.domain.machine import Machine, judge_incarnation
from greenroom.domain.participant import SUPERSEDED, Participant
from greenroom.domain.principal import Principal
from greenroom.domain.role import Role
from greenroom.domain.room import Room
from greenroom.service import authorization, participant_transitions, restart_holds, takeovers, task_transitions
from greenroom.service.context import ServiceContext
from greenroom.store import machines, participants, rooms, tasks
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import ReportsReply
from greenroom.wire.requests import AgentReport, ReportBatch


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
    if not may_report(principal, role, participant):
        return False
    subject = load_subject(context, tx, report, room, role, machine, participant)
    for effect in decide_effects(report, subject):
        apply_effect(context, tx, report, subject, effect)
    return True


def may_report(principal: Principal, role: Role, participant: Participant | None) -> bool:
    """Whether a caller may report on a participant: its machine runs or ran it, or the caller may join the role."""
    is_own = participant is not None and principal.machine is not None and participant.machine == principal.machine
    return is_own or callers.may_participate(
        principal, role.room, role.name, role.machine if role.is_run_by_daemon else None
    )


def load_subject(
    context: ServiceContext,
    tx: Transaction,
    report: AgentReport,
    room: Room,
    role: Role,
    machine: Machine,
    participant: Participant | None,
) -> ReportSubject:
    """Load what a report is about. Only the exit of a process concerns its task."""
    task_id = report.task if report.kind == EXIT_REPORT else None
    now = parse_instant(tx.now.instant)
    until = parse_report_time(report.until)
    is_distant = until is not None and parse_instant(until) > now + context.limits.pause_s_max
    return ReportSubject(
        room=room,
        role=role,
        machine=machine,
        participant=participant,
        task=tasks.get(tx, task_id) if task_id is not None else None,
        until=None if is_distant else until,
        distant_until=until if is_distant else None,
        backoff_until=format_instant(now + context.limits.restart_backoff_s_max),
    )


def apply_effect(
    context: ServiceContext, tx: Transaction, report: AgentReport, subject: ReportSubject, effect: ReportEffect
) -> None:
    """Apply one effect of a report."""
    room, role, task, participant = subject.room, subject.role, subject.task, subject.participant
    match effect:
        case RecordReport(intended, is_probe):
            record_report(tx, room, msgspec.structs.replace(report, intended=intended, probe=is_probe))
        case EndTakeoverHolds():
            takeovers.record_stop(context, tx, room.id, role.name, report.connection_id, report.task)
        case ReleaseTask(end_cause, cause, is_probe):
            assert task is not None
            task_transitions.release(context, tx, task, end_cause, cause, is_probe=is_probe)
        case CloseParticipant(end_cause, cause, is_probe):
            assert participant is not None
            participant_transitions.close_participant(
                context, tx, participant, end_cause, cause, release_as=end_cause, is_probe=is_probe
            )
        case SetRestartHold(hold, until, cause):
            restart_holds.set_hold(tx, room, get_changed_role(tx, role), hold, until, cause)
        case ClearRestartHold(cause):
            restart_holds.clear_hold(tx, room, get_changed_role(tx, role), cause)


def record_report(tx: Transaction, room: Room, report: AgentReport) -> None:
    """Record a report as an event of its room."""
    data = {name: getattr(report, name) for name in AgentReport.__struct_fields__ if name not in ("id", "kind", "room")}
    tx.record_event(room_stream(room.id), f"agent.{report.kind}", report.detail or report.kind, data)


def get_changed_role(tx: Transaction, role: Role) -> Role:
    """The role as it is now: the end of its participant, an earlier effect of the report, has changed it."""
    changed = rooms.get_role(tx, role.room, role.name)
    assert changed is not None
    return changed


def parse_report_time(text: str | None) -> str | None:
    """An instant in the server's format; None if it is invalid: a daemon's clock is shown and decides nothing."""
    if text is None:
        return None
    try:
        return format_instant(parse_instant(text))
    except (ValueError, OverflowError):
        return None
