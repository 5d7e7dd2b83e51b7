"""Keeps one resident process alive in a role: starts it, watches it, and reads its result when it has ended.

A runner is one start of the process: both end together, and the next start gets a new runner. The process claims its
tasks with the connection id of the runner's participant; the daemon's heartbeats keep that participant present.
Options: `task_timeout_s` of the agent spec, `restart_reset_s`, `stop_grace_s`. Limits: the task of the process, and so
its timeout, is known only from the answers to heartbeats.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from greenroom.client import command_result
from greenroom.client.command_result import CommandResult, read_result
from greenroom.client.run_outcome import resolve_pause
from greenroom.daemon.context import DaemonContext
from greenroom.daemon.harness import RunRecipe
from greenroom.daemon.role_runner import POLL_EVERY_S, MembershipEvent, RoleRunner
from greenroom.daemon.run_records import Resident, ResidentRecords
from greenroom.domain.errors import ConfigurationError, GreenroomError, Superseded, Unavailable
from greenroom.domain.restart_policy import RestartHistory
from greenroom.process.command import child_environment
from greenroom.process.process_group import ExitStatus, ProcessGroup
from greenroom.process.run_folder import read_tail
from greenroom.wire.replies import Assignment, TaskRef

log = logging.getLogger("greenroom.daemon.resident_runner")

ROLE_TAKEN_AWAY = "the role was taken away before the process ended"

DATA_FOLDER = "agent"
RESULT_FILE = "result.json"


class ResidentRunner(RoleRunner):
    """Keeps its process running until it is stopped or superseded, or the process ends.

    `adopted` is a process that an earlier daemon left: the runner adopts it with its participant.
    """

    def __init__(
        self,
        context: DaemonContext,
        records: ResidentRecords,
        spec: Assignment,
        history: RestartHistory,
        on_end: Callable[[], None],
        adopted: Resident | None = None,
    ) -> None:
        adopted_id = adopted.connection_id if adopted is not None else None
        super().__init__(context, spec, history, on_end, adopted_id, lambda: records.remove(self.connection_id))
        self._records = records
        self._adopted = adopted
        self._task: TaskRef | None = None
        self._task_since = 0.0
        self._finish: tuple[str, float, TaskRef | None] | None = None

    def finish(self, reason: str) -> None:
        """Stop once a heartbeat from now on names no task, or another one than the process has in hand."""
        if self._finish is None:
            self._finish = (reason, self._context.clock.boottime(), self._task)
            self._context.beat_now()

    def drain(self) -> None:
        """Do nothing: the server gives it no more tasks, and the process stays until the agent spec changes."""

    def compare_task(self, task: TaskRef | None, asked_at: float, notes: Sequence[str] = ()) -> None:
        """Remember which task the process holds, and since when the heartbeats name it.

        The process gets notes, and learns that a task was taken away, with its own next call.
        """
        if task != self._task:
            self._task, self._task_since = task, self._context.clock.monotonic()
        if self._finish is not None:
            reason, since, in_hand = self._finish
            if asked_at >= since and (task is None or task != in_hand):
                self.stop(reason)

    # The thread.

    def _work(self) -> None:
        resident = self._adopted
        if resident is not None:
            group = ProcessGroup.adopt(Path(resident.folder), resident.marker_variables)
        else:
            resident, group = self._join_and_start()
        if resident is None:
            return
        if group is None:
            self._reporter.report_intended_end("The command was never started.")
            return
        self._reporter.report_start(None)
        try:
            too_long = self._watch(group, resident.began_at)
        finally:
            ended = group.stop(self._context.limits.stop_grace_s)  # ends the descendants of the process too
        # Counted by an earlier daemon: then it was a failure, even if the agent is to stop now.
        is_counted = self._reporter.has_counted_end(None)
        if ended is not None and ended.not_started_reason is not None:
            self._report_not_started(f"The command was {ended}.")
        elif not is_counted and (self._stop_reason is not None or not self._still_holds_role()):
            self._reporter.report_intended_end(self._stop_reason or ROLE_TAKEN_AWAY, ended)
        else:
            self._record_unintended_end(resident, ended, too_long)

    def _join_and_start(self) -> tuple[Resident | None, ProcessGroup | None]:
        """Join and start the process; (None, None) when the runner was stopped before."""
        if self._retry_until_answered(lambda: self._join(self._session)) is None:
            return None, None
        recipe = self._check()
        token = self._retry_until_answered(lambda: self._session.room_token(self.room, self.role))
        if token is None:
            return None, None
        resident = record_resident(self._context, self._records, self.spec, self.connection_id)
        return resident, start_resident(self._context, resident, recipe, token.token)

    def _watch(self, group: ProcessGroup, began_at: float) -> str | None:
        """Wait until the process has ended or has to be stopped; the reason if its task took too long, else None."""
        context, limit_s = self._context, self.spec.task_timeout_s
        well_at = context.clock.monotonic() + context.limits.restart_reset_s
        well_at -= max(0.0, context.clock.wall() - began_at)
        is_well = False
        while group.wait(POLL_EVERY_S) is None and self._stop_reason is None:
            now = context.clock.monotonic()
            if not is_well and now >= well_at:
                is_well = True
                self._reporter.record_recovery()
            if limit_s is not None and self._task is not None and now - self._task_since >= limit_s:
                return f"Task {self._task.id} was not done within {limit_s:g} s, so its agent was stopped."
        return None

    # The end.

    def _still_holds_role(self) -> bool:
        """Ask the server whether this participant still had the role when the process ended.

        The process may have been superseded, and have ended for that, before the daemon learned of it: no failure.
        """
        try:
            self._join(self._session)
        except Superseded:
            self._membership.apply(MembershipEvent.TAKEN_OVER)
        except Unavailable:
            return True
        except GreenroomError as error:
            # The room was closed, or the agent spec changed, and this daemon has not read that yet.
            self._reporter.record_hold(str(error))
        else:
            return True
        return False

    def _record_unintended_end(self, resident: Resident, ended: ExitStatus | None, too_long: str | None) -> None:
        """Record and report an unintended end: a pause if the process itself reported one, else a failure."""
        context, result = self._context, read_resident_result(resident)
        outcome = None if too_long else resolve_pause(result, ended, context.clock.wall(), context.limits)
        if outcome is not None:
            log.warning("agent paused: %s: %s", self._thread.name, outcome.detail)
            self._end_participant(lambda: self._reporter.report_pause(None, outcome))
            return
        detail = too_long or describe_end(context, resident, result, ended)
        log.warning("process ended: %s: %s", self._thread.name, detail)
        self._end_participant(lambda: self._reporter.report_failure(detail, None, ended))


def record_resident(context: DaemonContext, records: ResidentRecords, spec: Assignment, connection_id: str) -> Resident:
    """Record the process that is about to be started. Raises ConfigurationError if that fails."""
    folder = context.run_logs.prepare_folder(spec.room_name, spec.role, connection_id, 1)
    resident = Resident(connection_id=connection_id, spec=spec, folder=str(folder), began_at=context.clock.wall())
    try:
        records.write(resident)
    except OSError as error:
        raise ConfigurationError(f"The process cannot be recorded: {error}.", "Free space on the disk.") from error
    return resident


def start_resident(context: DaemonContext, resident: Resident, recipe: RunRecipe, token: str) -> ProcessGroup:
    """Start the process. Raises ConfigurationError if it cannot be started."""
    variables = resident_environment(context.server_link.url, resident, token)
    env = child_environment(context.environ, {**recipe.env, **variables})
    return ProcessGroup.spawn(
        recipe.command,
        recipe.workdir,
        env,
        b"",
        Path(resident.folder),
        resident.marker_variables,
        context.limits.run_output_bytes_max,
        grace_s=context.limits.stop_grace_s,
    )


def resident_environment(url: str, resident: Resident, token: str) -> dict[str, str]:
    """The variables that a resident gets: its role, the server, and a token for that role alone.

    The room is given by its id, which stays when the room is renamed. The data directory of the process is in the
    folder of the run, apart from the daemon's own files.
    """
    folder = Path(resident.folder)
    return {
        "GREENROOM_URL": url,
        "GREENROOM_ROOM": resident.spec.room,
        "GREENROOM_ROLE": resident.spec.role,
        "GREENROOM_TOKEN": token,
        "GREENROOM_DATA_DIR": str(folder / DATA_FOLDER),
        command_result.RESULT_VARIABLE: str(folder / RESULT_FILE),
        **resident.marker_variables,
    }


def read_resident_result(resident: Resident) -> CommandResult | None:
    """The result that the process itself reported; None if there is none."""
    folder = Path(resident.folder)
    return read_result(None, folder / RESULT_FILE, folder / "stdout")


def describe_end(
    context: DaemonContext, resident: Resident, said: CommandResult | None, ended: ExitStatus | None
) -> str:
    """Why it ended, as text: its own reason, its exit status and the end of its standard error."""
    reason = said.reason if said is not None else ""
    printed = read_tail(Path(resident.folder) / "stderr", context.limits.stderr_bytes_kept)
    return "\n".join(line for line in (reason, str(ended or ""), printed) if line).strip()
