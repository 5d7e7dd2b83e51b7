"""Records what happens to one agent in its restart state, and puts the reports of it into the outbox.

The restart policy decides by the restart state. The reports are what users see, and what releases a task.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import msgspec

from greenroom.client.run_outcome import DONE, SELF_REPORTED, RunOutcome
from greenroom.clock import format_instant, parse_instant
from greenroom.daemon.context import DaemonContext
from greenroom.daemon.run_records import RunRecord
from greenroom.domain import restart_policy
from greenroom.domain.limits import Limits
from greenroom.domain.restart_policy import CRASH_LOOPING, RestartHistory
from greenroom.process.process_group import ExitStatus
from greenroom.wire.replies import Assignment
from greenroom.wire.requests import AgentReport

ID_CHARACTERS_MAX = 128
DETAIL_CHARACTERS_MAX = 8 * 1024

FailureTransition = Callable[[RestartHistory, int, float, float, Limits, str], RestartHistory]
"""A transition of the restart policy: history, generation, now, fraction, limits and reason to the next history."""


class AgentReporter:
    """Reports for one participant. A method that returns an event sets it when the server has the report.

    A report without a run is about the participant as a whole, which ends by one report only. `on_end_safe` is called
    once that report cannot be lost any more.
    """

    def __init__(
        self,
        context: DaemonContext,
        spec: Assignment,
        connection_id: str,
        history: RestartHistory,
        on_end_safe: Callable[[], None] = lambda: None,
    ) -> None:
        self.history = history
        self._on_end_safe = on_end_safe
        self._context = context
        self._spec = spec
        self._connection_id = connection_id

    def report_start(self, run: RunRecord | None) -> None:
        """Report that its command runs. The same report of a daemon that adopts the run changes nothing."""
        self._context.outbox.add(self._make_report("started", run))

    def report_run_end(self, run: RunRecord, outcome: RunOutcome) -> threading.Event:
        """Report the end of a run that is no failure."""
        reports = [self._exit_report(run, outcome.detail, outcome.exit, intended=True)]
        if outcome.kind in (DONE, SELF_REPORTED):
            self._record_success()
            if run.probe:
                # The run says so, not the history: a daemon that was killed here may have cleared the history.
                reports.append(self._make_report("recovered", run, detail="the probe run did its task"))
        return self._report_end(run, *reports)

    def record_recovery(self) -> None:
        """Record that it has run for `restart_reset_s`, which counts as recovered."""
        if self.history.is_probe_run:
            # Before the history is cleared: nothing else says that this was a probe run.
            self._context.outbox.add(self._make_report("recovered", None, detail="the probe run lasted long enough"))
        self._record_success()

    def report_intended_end(self, detail: str, exit: ExitStatus | None = None) -> threading.Event:
        """Report that the participant has ended as intended."""
        return self._report_end(None, self._exit_report(None, detail, exit, intended=True))

    def report_failure(self, detail: str, run: RunRecord | None, exit: ExitStatus | None = None) -> threading.Event:
        """Record and report a failure: an end that was not intended."""
        self._count_once(run, restart_policy.record_failure, detail)
        until = self._hold_until()
        # A failed probe run waits for a user; a failure that starts a crash loop does not. So read it after the count.
        is_probe_run = run.probe if run is not None else self.history.needs_user
        reports = [self._exit_report(run, detail, exit, intended=False, until=until, probe=is_probe_run)]
        if self.history.hold == CRASH_LOOPING:
            reports.append(self._make_report("crash_looping", run, until=until, detail=self.history.reason))
        return self._report_end(run, *reports)

    def report_not_started(self, detail: str, run: RunRecord | None = None) -> threading.Event:
        """Record and report that it could not be started at all. Its task is released, without a failure."""
        self._count_once(None, restart_policy.record_failed_start, detail)
        is_probe_run = run.probe if run is not None else self.history.is_probe_run
        reports = [self._exit_report(run, detail, None, intended=True)] if run is not None else []
        reports.append(
            self._exit_report(None, detail, None, intended=False, until=self._hold_until(), probe=is_probe_run)
        )
        return self._report_end(run, *reports)

    def report_pause(self, run: RunRecord | None, outcome: RunOutcome) -> threading.Event:
        """Record and report the pause that the agent itself asked for: until an instant, or until a user acts."""
        now, wall = self._context.clock.boottime(), self._context.clock.wall()
        until = None if outcome.until is None else now + parse_instant(outcome.until) - wall
        self._record_history(
            restart_policy.record_pause(self.history, self._spec.generation, now, until, outcome.detail)
        )
        return self._report_end(
            run,
            self._exit_report(run, outcome.detail, outcome.exit, intended=True),
            self._make_report("paused", run, until=self._hold_until(), detail=outcome.detail),
        )

    def record_hold(self, reason: str) -> None:
        """Record that it cannot hold the role now, for a reason that the server knows. Nothing is reported."""
        self._record_history(self._next_history(restart_policy.record_failed_start, reason))

    def record_yield(self) -> None:
        """Record that another participant has the role. Nothing is reported."""
        now, limits = self._context.clock.boottime(), self._context.limits
        self._record_history(restart_policy.record_yield(self.history, self._spec.generation, now, limits))

    def has_counted_end(self, run: RunRecord | None) -> bool:
        """Whether the history has already counted this end of a run, or of the participant if `run` is None.

        A daemon may be killed after it has written the history and before the report is in the outbox; the next one
        handles the same end again.
        """
        return self.history.last_failure_id == self._id_of("exit", run)

    def _count_once(self, run: RunRecord | None, end: FailureTransition, detail: str) -> None:
        """Record an unintended end, once."""
        if not self.has_counted_end(run):
            self._record_history(
                msgspec.structs.replace(self._next_history(end, detail), last_failure_id=self._id_of("exit", run))
            )

    def _next_history(self, end: FailureTransition, detail: str) -> RestartHistory:
        context = self._context
        now, fraction = context.clock.boottime(), context.entropy.fraction()
        return end(self.history, self._spec.generation, now, fraction, context.limits, detail)

    def _record_success(self) -> None:
        self._record_history(restart_policy.record_success(self.history, self._spec.generation))

    def _record_history(self, history: RestartHistory) -> None:
        self.history = history
        self._context.restart_states.record(self._spec.room, self._spec.role, history)

    def _hold_until(self) -> str | None:
        """The instant (ISO) until which the restart is held; None if it waits for a user."""
        clock, until = self._context.clock, self.history.hold_until
        return None if until is None else format_instant(clock.wall() + until - clock.boottime())

    def _report_end(self, run: RunRecord | None, *reports: AgentReport) -> threading.Event:
        """Add the reports about the end of a run, or of the participant if `run` is None, to the outbox together.

        Once they are safe, the record of the run is removed.
        """
        on_safe = self._on_end_safe if run is None else partial(self._context.run_records.remove, run)
        return self._context.outbox.add(*reports, on_safe=on_safe)

    def _exit_report(self, run: RunRecord | None, detail: str, exit: ExitStatus | None, **more: Any) -> AgentReport:
        code, signal = (exit.code, exit.signal) if exit is not None else (None, None)
        return self._make_report("exited", run, detail, code=code, signal=signal, **more)

    def _id_of(self, what: str, run: RunRecord | None) -> str:
        return run_report_id(what, run) if run is not None else participant_report_id(what, self._connection_id)

    def _make_report(
        self,
        kind: Literal["started", "exited", "crash_looping", "paused", "recovered"],
        run: RunRecord | None,
        detail: str | None = None,
        **more: Any,
    ) -> AgentReport:
        return AgentReport(
            id=self._id_of("exit" if kind == "exited" else kind, run),
            kind=kind,
            room=self._spec.room,
            role=self._spec.role,
            connection_id=self._connection_id,
            task=run.task if run is not None else None,
            attempt=run.attempt if run is not None else None,
            generation=self._spec.generation,
            at=format_instant(self._context.clock.wall()),
            detail=None if detail is None else truncate_detail(detail),
            **more,
        )


def truncate_detail(detail: str) -> str:
    """Cut a detail to the length of a report, and replace what is not valid text, as a directory's name may hold."""
    return detail[:DETAIL_CHARACTERS_MAX].encode(errors="replace").decode()


def run_report_id(what: str, run: RunRecord) -> str:
    """The id of a report that a run can have only once, so that sending it twice changes nothing."""
    return f"{what}:{run.task}.{run.attempt}.{run.connection_id}"[:ID_CHARACTERS_MAX]


def participant_report_id(what: str, connection_id: str) -> str:
    """The id of a report that a participant as a whole can have only once."""
    return f"{what}:{connection_id}"[:ID_CHARACTERS_MAX]
