"""Runs the command of a role once for each task: claim, prepare the run, run, report.

A run is prepared from a claimed task, or from the record of an earlier daemon.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from greenroom.client.api_client import ApiClient
from greenroom.client.claim_loop import ClaimLoop
from greenroom.client.run_outcome import DONE, FAILED, NOT_STARTED, PAUSED, SELF_REPORTED, STOPPED, RunOutcome
from greenroom.client.run_spec import RunSpec, task_environment
from greenroom.client.task_run import TaskRun
from greenroom.daemon.context import DaemonContext
from greenroom.daemon.role_runner import TAKEN_OVER, RoleRunner
from greenroom.daemon.run_records import RunRecord
from greenroom.domain.errors import ConfigurationError
from greenroom.domain.participant import DRAIN
from greenroom.domain.restart_policy import RestartHistory
from greenroom.domain.role import EMPTY_FAILURE
from greenroom.process.command import child_environment
from greenroom.process.identity import ProcessIdentity
from greenroom.wire.replies import Assignment, ClaimedTask, JoinReply, TaskRef

log = logging.getLogger("greenroom.daemon.task_runner")

REDACTED = "kept elsewhere"
"""Replaces a task's text and token in the record of a run: the text is in the run's folder, the token in no file."""


class TaskRunner(RoleRunner):
    """Takes one task after the other, until it is stopped or superseded, or a run fails.

    `adopted` is a run that an earlier daemon left: the runner adopts its participant and goes on with that run.
    """

    def __init__(
        self,
        context: DaemonContext,
        spec: Assignment,
        history: RestartHistory,
        on_end: Callable[[], None],
        adopted: RunRecord | None = None,
    ) -> None:
        super().__init__(context, spec, history, on_end, adopted.connection_id if adopted is not None else None)
        self._adopted = adopted
        self._claim = ClaimLoop(
            context.server_link.open_session(),
            spec.room,
            spec.role,
            self.connection_id,
            lambda: self.has_joined and context.is_connected(),
            context.beat_now,
            context.clock,
            context.entropy,
            interval_s=context.limits.daemon_heartbeat_interval_s,
            ttl_s=context.limits.daemon_heartbeat_ttl_s,
            spread_retries=context.must_spread_retries,
        )
        self._task_run: TaskRun | None = None
        self._finish_reason: str | None = None
        self._began_at = 0.0
        self._lock = threading.Lock()

    def finish(self, reason: str) -> None:
        self._finish_reason = reason
        self._claim.stop()

    def drain(self) -> None:
        self._claim.stop()

    def renew_connections(self) -> None:
        """Send the claim, and the next calls, on new connections."""
        self._claim.renew()
        super().renew_connections()

    def rejoin(self, session: ApiClient) -> None:
        super().rejoin(session)
        self._claim.renew()

    def compare_task(self, task: TaskRef | None, asked_at: float, notes: Sequence[str] = ()) -> None:
        """Check the run against the task that the server named, and deliver the notes that are new."""
        with self._lock:
            task_run, run, began_at = self._task_run, self._current_run, self._began_at
        if task_run is None or run is None or began_at >= asked_at:
            return
        if task is None or (task.id, task.attempt) != (run.task, run.attempt):
            task_run.check_ownership()
            return
        try:
            for note in task_run.deliver_notes(notes):
                log.info("note delivered: %s, %s: %s", self._thread.name, run.task, note)
        except OSError as error:
            log.error("note not delivered: %s, %s: %s", self._thread.name, run.task, error)

    def _stop(self, reason: str, is_lost: bool) -> None:
        """End the run, if there is one. If the role was lost, its output is handed in as a late result."""
        super()._stop(reason, is_lost)
        self._claim.stop()
        with self._lock:
            task_run = self._task_run
        if task_run is not None:
            end_task_run(task_run, reason, is_lost)

    # The thread.

    def _work(self) -> None:
        if self._adopted is None:
            self._retry_until_answered(lambda: self._join(self._session))
        elif not self._record_end(self._resume_run(self._adopted), is_adopted=True):
            return
        if self._stop_reason is None and self._finish_reason is None:
            self._check()
        while self._stop_reason is None and (task := self._claim.next_task()) is not None:
            if not self._record_end(self._run_task(task)):
                return
        self._stop_reason = self._stop_reason or self._finish_reason
        if self._stop_reason is None:
            # The backoff keeps the next participant from joining at once.
            self._reporter.record_hold("the server asked it to take no more tasks")

    def _join(self, session: ApiClient) -> JoinReply:
        asked_at = self._context.clock.boottime()
        reply = super()._join(session)
        if reply.status == DRAIN:
            self.drain()
        self.compare_task(reply.task, asked_at)
        return reply

    def _leave(self) -> None:
        self._claim.stop()
        super()._leave()

    # The run.

    def _run_task(self, task: ClaimedTask) -> RunOutcome:
        """Run the command for one task. The run is on record from before its start until its end is reported."""
        context = self._context
        run = self._current_run = RunRecord(
            task=task.id,
            attempt=task.attempt,
            room=self.room,
            role=self.role,
            connection_id=self.connection_id,
            spec=self.spec,
            probe=self.history.is_probe_run,
        )
        run, plan = prepare_run(context, run, task)
        task_run = TaskRun(
            self._session,
            task,
            self.connection_id,
            plan,
            context.clock,
            lambda identity: self._record_start(run, identity),
        )
        return self._finish_run(task_run, run, task_run.run)

    def _resume_run(self, run: RunRecord) -> RunOutcome:
        """Go on with a run that an earlier daemon started."""
        task_run = resume_task_run(
            self._context, self._session, run, lambda identity: self._record_start(run, identity)
        )
        return self._finish_run(task_run, run, task_run.adopt)

    def _finish_run(self, task_run: TaskRun, run: RunRecord, execute: Callable[[], RunOutcome]) -> RunOutcome:
        with self._lock:
            self._task_run, self._current_run = task_run, run
            self._began_at = self._context.clock.boottime()
        reason = self._stop_reason  # read before the other, which is set first
        is_lost = self._membership.is_superseded
        if is_lost or reason is not None:
            end_task_run(task_run, reason or TAKEN_OVER, is_lost)
        try:
            return execute()
        finally:
            with self._lock:
                self._task_run = None

    def _record_start(self, run: RunRecord, identity: ProcessIdentity) -> None:
        """Record and report that the command runs. A full disk must not stop the run, or the report of its end."""
        try:
            self._context.run_records.write(msgspec.structs.replace(run, identity=identity))
        except OSError as error:
            log.error("cannot update the run record: %s: %s; it does not name the process", run.task, error)
        self._reporter.report_start(run)

    def _record_end(self, outcome: RunOutcome, is_adopted: bool = False) -> bool:
        """Record and report how a run ended; False when the participant ends with it."""
        run, self._current_run = self._current_run, None
        assert run is not None
        level = logging.WARNING if outcome.kind == FAILED or outcome.is_empty else logging.INFO
        log.log(level, "run ended: %s, %s, attempt %d: %s", self._thread.name, run.task, run.attempt, outcome.detail)
        # A success counts as one, even if an earlier daemon could not hand the result on and counted a failure.
        is_well = outcome.kind in (DONE, SELF_REPORTED)
        if outcome.kind == FAILED or (not is_well and self._reporter.has_counted_end(run)):
            self._end_participant(lambda: self._reporter.report_failure(outcome.detail, run, outcome.exit))
        elif outcome.kind == PAUSED:
            self._end_participant(lambda: self._reporter.report_pause(run, outcome))
        elif outcome.kind == NOT_STARTED and not is_adopted:
            self._report_not_started(outcome.detail, run)
        else:
            is_sent = self._reporter.report_run_end(run, outcome)
            if outcome.kind == NOT_STARTED:
                self._wait_until_sent(
                    is_sent
                )  # Until then, a claim gets this same attempt, which the report then releases.
            return outcome.kind != STOPPED
        return False


def end_task_run(task_run: TaskRun, reason: str, is_lost: bool) -> None:
    """End a run from another thread. If the role was lost, the run hands in its output as a late result."""
    if is_lost:
        task_run.supersede(f"{TAKEN_OVER.capitalize()}.")
    else:
        task_run.stop(reason)


def prepare_run(context: DaemonContext, run: RunRecord, task: ClaimedTask) -> tuple[RunRecord, RunSpec]:
    """Resolve how this machine runs a task, and record the run. Raises ConfigurationError if it cannot be run."""
    assert run.spec is not None
    spec = run.spec
    recipe = context.resolve_recipe(spec)
    variables = task_environment(context.server_link.url, spec.room_name, spec.role, task, run.connection_id)
    plan = RunSpec(
        command=recipe.command,
        cwd=recipe.workdir,
        env=child_environment(context.environ, {**recipe.env, **variables}),
        receiver=recipe.then,
        folder=context.run_logs.prepare_folder(spec.room_name, spec.role, task.id, task.attempt),
        timeout_s=spec.task_timeout_s or recipe.timeout_s,
        result=recipe.result,
        is_empty_failure=spec.empty == EMPTY_FAILURE,
    )
    run = msgspec.structs.replace(
        run,
        claimed=msgspec.structs.replace(task, text=REDACTED, token=REDACTED),
        then=plan.receiver,
        result=plan.result,
        timeout_s=plan.timeout_s,
        began_at=context.clock.wall(),
        folder=str(plan.folder),
    )
    try:
        context.run_records.write(run)
    except OSError as error:
        raise ConfigurationError(f"The run cannot be recorded: {error}.", "Free space on the disk.") from error
    return run, plan


def resume_task_run(
    context: DaemonContext, session: ApiClient, run: RunRecord, on_started: Callable[[ProcessIdentity], None]
) -> TaskRun:
    """The task run that an earlier daemon started. The plan has no command: it was started already."""
    assert run.claimed is not None
    folder = Path(run.folder)
    plan = RunSpec(
        command=(),
        cwd=folder,
        env={},
        receiver=run.then,
        folder=folder,
        timeout_s=run.timeout_s,
        result=run.result,
        began_at=run.began_at,
        is_empty_failure=run.spec is not None and run.spec.empty == EMPTY_FAILURE,
    )
    return TaskRun(session, run.claimed, run.connection_id, plan, context.clock, on_started)
