"""Decides what a daemon's report on an agent (started, exited, crash_looping, paused, recovered) changes.

Every report becomes an event. An `exited` also releases the attempt that it names, if its participant still holds the
task. The restart hold of a role changes only by a report on the role's newest participant, from the machine that the
role is assigned to, under the current generation. The caller applies the effects in the order given.

Options: `restart_backoff_s_max`, as `backoff_until`, is the end of a backoff for which a report names none; a report
that names an end beyond `pause_s_max` is taken to name none.
Limits: it believes the report. A daemon that reports a process as exited while it still runs frees its task.
"""

from typing import Final, Protocol

import msgspec

from greenroom.domain.machine import Machine
from greenroom.domain.participant import CLOSED, Participant
from greenroom.domain.role import BACKING_OFF, CRASH_LOOPING, PAUSED, RUNNING, Role
from greenroom.domain.room import OPEN, Room
from greenroom.domain.task import EXITED, STOPPED, Task, is_held_by

EXIT_REPORT: Final = "exited"
RECOVERY_REPORT: Final = "recovered"
HOLD_REPORTS: Final = (CRASH_LOOPING, PAUSED)
"""The kinds of reports that are named like the restart hold which they set."""


class Report(Protocol):
    """What a report says, as far as it decides anything. Other daemons may leave out whatever can be None."""

    @property
    def kind(self) -> str: ...
    @property
    def connection_id(self) -> str: ...
    @property
    def task(self) -> str | None: ...
    @property
    def attempt(self) -> int | None: ...
    @property
    def code(self) -> int | None: ...
    @property
    def signal(self) -> int | None: ...
    @property
    def intended(self) -> bool | None: ...
    @property
    def probe(self) -> bool | None: ...
    @property
    def generation(self) -> int | None: ...
    @property
    def detail(self) -> str | None: ...


class ReportSubject(msgspec.Struct, frozen=True, kw_only=True):
    """What a report is about, as it is stored before the report.

    `machine` is that of the daemon which reports. `participant` and `task` are those that the report names, if they
    exist. `until` is the report's own, None if it is absent, invalid or too far away to wait for; `distant_until` is it
    in the last case. `backoff_until` is the end of the longest backoff. All are instants.
    """

    room: Room
    role: Role
    machine: Machine
    participant: Participant | None = None
    task: Task | None = None
    until: str | None = None
    distant_until: str | None = None
    backoff_until: str


class RecordReport(msgspec.Struct, frozen=True):
    """Record the report as an event, with these values for what the report may leave out."""

    intended: bool
    is_probe: bool


class EndTakeoverHolds(msgspec.Struct, frozen=True):
    """End the takeover holds for the report's connection: all of them, or only that of the task which it names."""


class ReleaseTask(msgspec.Struct, frozen=True):
    """Release the task that the report names."""

    end_cause: str
    cause: str
    is_probe: bool


class CloseParticipant(msgspec.Struct, frozen=True):
    """Close the participant that the report names, and release its task."""

    end_cause: str
    cause: str
    is_probe: bool


class SetRestartHold(msgspec.Struct, frozen=True):
    """Set the role's restart hold; without `until` it lasts until a user acts."""

    hold: str
    until: str | None
    cause: str


class ClearRestartHold(msgspec.Struct, frozen=True):
    """Clear the role's restart hold."""

    cause: str


ReportEffect = RecordReport | EndTakeoverHolds | ReleaseTask | CloseParticipant | SetRestartHold | ClearRestartHold


def decide_effects(report: Report, subject: ReportSubject) -> tuple[ReportEffect, ...]:
    """Return the effects of a report, in the order in which they are to be applied."""
    is_probe = was_probe_run(report, subject)
    effects: list[ReportEffect | None] = [RecordReport(bool(report.intended), is_probe)]
    if report.kind == EXIT_REPORT:
        effects += [EndTakeoverHolds(), decide_task_release(report, subject, is_probe)]
        if not report.intended:
            effects.append(decide_close(report, subject, EXITED, is_probe))
        elif not should_run_on_machine(subject):
            effects.append(decide_close(report, subject, STOPPED, is_probe))
    if may_change_hold(report, subject):
        if report.kind in HOLD_REPORTS:
            # A role crash-loops only after a failure: this report counts as one, unless an `exited` came before it.
            end_cause = EXITED if report.kind == CRASH_LOOPING else STOPPED
            effects.append(decide_close(report, subject, end_cause, is_probe))
        effects.append(decide_hold(report, subject, is_probe))
    return tuple(effect for effect in effects if effect is not None)


def was_probe_run(report: Report, subject: ReportSubject) -> bool:
    """Return whether the run was a probe run: if left out, it was if the role's newest participant is crash-looping."""
    if report.probe is not None:
        return report.probe
    role, participant = subject.role, subject.participant
    is_newest = participant is not None and participant.status != CLOSED and participant.epoch == role.epoch
    return role.hold == CRASH_LOOPING and is_newest


def should_run_on_machine(subject: ReportSubject) -> bool:
    """Return whether the role's agent should run on the machine. If not, even an intended exit ends its participant."""
    should_run = subject.room.status == OPEN and subject.role.desired == RUNNING
    return should_run and is_assigned(subject)


def is_assigned(subject: ReportSubject) -> bool:
    """Return whether the role is assigned to the machine."""
    return subject.role.is_run_by_daemon and subject.role.machine == subject.machine.id


def may_change_hold(report: Report, subject: ReportSubject) -> bool:
    """Return whether a report may change the role's restart hold. One about an earlier state becomes only an event."""
    is_newest = subject.participant is not None and subject.participant.epoch == subject.role.epoch
    return is_assigned(subject) and is_newest and report.generation in (None, subject.role.generation)


def decide_task_release(report: Report, subject: ReportSubject, is_probe: bool) -> ReleaseTask | None:
    """Return the release of the attempt whose process exited, if it still holds its task.

    No other sign of an end is as certain.
    """
    task = subject.task
    if task is None or report.attempt is None or task.room != subject.role.room:
        return None
    if not is_held_by(task, report.connection_id, report.attempt):
        return None
    # To find the fault a user needs the command's last output, which is in the detail.
    cause = describe_exit(report) if report.intended else report.detail or describe_exit(report)
    return ReleaseTask(STOPPED if report.intended else EXITED, cause, is_probe)


def decide_close(report: Report, subject: ReportSubject, end_cause: str, is_probe: bool) -> CloseParticipant | None:
    """Return the end of an agent's participant that failed, or whose daemon holds its restart; None if it has ended."""
    participant = subject.participant
    if participant is None or participant.status == CLOSED or participant.epoch < subject.role.epoch:
        return None
    return CloseParticipant(end_cause, describe_exit(report), is_probe)


def decide_hold(report: Report, subject: ReportSubject, is_probe: bool) -> SetRestartHold | ClearRestartHold | None:
    """Return how the role's restart hold changes.

    An `exited` whose participant had ended before does not replace the hold that it led to.
    """
    role, until = subject.role, subject.until
    if report.kind in HOLD_REPORTS:
        return SetRestartHold(report.kind, until, describe_hold_report(report, subject))
    if report.kind == EXIT_REPORT and not report.intended:
        had_ended = subject.participant is not None and subject.participant.status == CLOSED
        if is_probe:
            # The `crash_looping` report that follows has the reason for which the role waits for a user.
            return SetRestartHold(CRASH_LOOPING, until or role.hold_until, describe_exit(report))
        if not (had_ended and role.hold in HOLD_REPORTS):
            return SetRestartHold(BACKING_OFF, until or subject.backoff_until, describe_exit(report))
    elif report.kind == RECOVERY_REPORT and role.hold == CRASH_LOOPING:
        return ClearRestartHold("the probe run succeeded")
    return None


def describe_hold_report(report: Report, subject: ReportSubject) -> str:
    """Return why a daemon holds an agent's restart, as a text for users."""
    reason = get_first_line(report) or subject.role.last_exit or report.kind
    distant = subject.distant_until
    return reason if distant is None else f"{reason}; its end, {distant}, is too far away to wait for"


def describe_exit(report: Report) -> str:
    """Return how a process ended, as a text for users."""
    if report.kind != EXIT_REPORT:
        return get_first_line(report) or report.kind
    if report.intended:
        return "stopped as requested" if report.code != 0 else "exited as expected"
    if report.signal is not None:
        return f"killed by signal {report.signal}"
    if report.code is not None:
        return f"exited with code {report.code}"
    return get_first_line(report) or "exited"


def get_first_line(report: Report) -> str | None:
    """Return the first line of a report's detail; None if there is none."""
    return report.detail.strip().partition("\n")[0] or None if report.detail else None
