"""Runs a command for one claimed task: starts it, watches it, and hands its result on.

Only a result is sent to the server from here. Any other end of a run is returned as an Outcome: agents and daemons
report it in different ways.

Options: `heartbeat_ttl_s`, `stop_grace_s`, `text_bytes_max`, `run_output_bytes_max`, `stderr_bytes_kept`.
"""

import threading
from collections.abc import Callable, Sequence

import msgspec

from greenroom.client import command_result, task_notes
from greenroom.client.api_client import NO_LIMIT_S, ApiClient
from greenroom.client.command_result import CommandResult, read_result
from greenroom.client.run_outcome import (
    DONE,
    FAILED,
    NOT_STARTED,
    OWNERSHIP_LOST,
    SELF_REPORTED,
    STOPPED,
    OwnershipCheck,
    RunOutcome,
    loss_reason,
    resolve_pause,
)
from greenroom.client.run_spec import RunSpec, run_marks
from greenroom.client.task_notes import NotesFile
from greenroom.clock import Clock
from greenroom.domain.errors import ConfigurationError, Conflict, GreenroomError, NotKept, Superseded, Unavailable
from greenroom.domain.ids import USER
from greenroom.domain.task import Task
from greenroom.process.identity import ProcessIdentity
from greenroom.process.process_group import ExitStatus, ProcessGroup
from greenroom.process.process_tree import end_leftover
from greenroom.process.run_folder import fits_in, read_tail, read_text
from greenroom.process.spawn import StartDeclined

STEP_S = 0.2
EMPTY_RESULT = "The command exited with code 0 and wrote nothing."
NOTHING_WRITTEN = f"({EMPTY_RESULT})"
"""What is handed on instead of an empty result."""


class TaskRun:
    """The run of one task. `run` and `adopt` block; the other methods are called from other threads."""

    def __init__(
        self,
        session: ApiClient,
        task: Task,
        connection_id: str,
        plan: RunSpec,
        clock: Clock,
        on_started: Callable[[ProcessIdentity], None] | None = None,
    ) -> None:
        self._session = session
        self._retrying_session = session.with_patience(NO_LIMIT_S)
        self._limits = session.limits
        self._task = task
        self._connection_id = connection_id
        self._plan = plan
        self._clock = clock
        self._on_started = on_started or (lambda identity: None)
        self._tenure = OwnershipCheck(task, connection_id)
        self._notes = NotesFile(task, plan.notes)
        self._must_check = threading.Event()
        self._lost_reason: str | None = None
        self._stop_reason: str | None = None

    def check_ownership(self) -> None:
        """Ask the server whether the task is still this run's, since a beat's answer did not name it. If not, stop."""
        self._must_check.set()

    def supersede(self, reason: str) -> None:
        """Stop the run, since another participant has its role; what it wrote is handed in as a late result."""
        self._lost_reason = reason

    def deliver_notes(self, texts: Sequence[str]) -> list[str]:
        """Give the run those notes of a beat's answer that are new; return them. Raises OSError."""
        return self._notes.append_new(texts)

    def stop(self, reason: str) -> None:
        """Stop the run, and give up any call that is being retried."""
        self._stop_reason = reason
        self._retrying_session.give_up()

    def run(self) -> RunOutcome:
        """Run the command for the task and hand its output on. However it ends, none of its processes is left."""
        while self._stop_reason is None and self._lost_reason is None:
            try:
                confirmed_at = self._confirm_attempt()
                group = self._spawn(confirmed_at)
            except StartDeclined:
                continue
            except Conflict as error:
                return RunOutcome(kind=OWNERSHIP_LOST, detail=str(error))
            except Unavailable:
                return self._stopped_outcome(None)
            except (ConfigurationError, OSError) as error:
                return RunOutcome(kind=NOT_STARTED, detail=str(error))
            return self._supervise(group)
        return self._requested_end() or self._stopped_outcome(None)

    def adopt(self) -> RunOutcome:
        """Continue a run that an earlier process began under the same attempt and connection, and that was killed."""
        group = ProcessGroup.adopt(self._plan.folder, self._marks)
        if group is None:
            return RunOutcome(kind=NOT_STARTED, detail="The command was never started.")
        self._notes.reopen()
        return self._supervise(group)

    @property
    def _marks(self) -> dict[str, str]:
        return run_marks(self._task.id, self._task.attempt, self._connection_id)

    def _spawn(self, confirmed_at: float) -> ProcessGroup:
        """Start the command. Raises NotNow if the server's answer is too old by then, or the run was stopped."""
        plan, text = self._plan, task_notes.format_input(self._task).encode()
        self._notes.open()
        plan.result_file.unlink(missing_ok=True)
        env = {
            **plan.env,
            task_notes.NOTES_VARIABLE: str(plan.notes),
            command_result.RESULT_VARIABLE: str(plan.result_file),
        }
        try:
            return ProcessGroup.spawn(
                plan.command,
                plan.cwd,
                env,
                text,
                plan.folder,
                self._marks,
                self._limits.run_output_bytes_max,
                plan.ends_with_parent,
                self._limits.stop_grace_s,
                lambda: self._may_begin(confirmed_at),
            )
        except BaseException:
            end_leftover(None, self._marks)  # A signal may come before the process id of the command is known.
            raise

    def _supervise(self, group: ProcessGroup) -> RunOutcome:
        try:
            self._on_started(group.identity)
            cut_short = self._watch(group)
        finally:
            ended = self._stop_group(group)
        if ended is not None and ended.not_started_reason is not None:
            return RunOutcome(kind=NOT_STARTED, detail=f"The command was {ended}.")
        if cut_short is None or (cut_short.kind == FAILED and ended is not None):
            assert ended is not None
            return self._conclude_run(ended, cut_short)
        if cut_short.kind == OWNERSHIP_LOST:
            return self._hand_in_late(cut_short.detail, ended, self._read_result())
        return msgspec.structs.replace(cut_short, exit=ended)

    def _stop_group(self, group: ProcessGroup) -> ExitStatus | None:
        try:
            return group.stop(self._limits.stop_grace_s)
        except BaseException:
            group.stop(0)  # A second signal skips the grace period, but leaves nothing running.
            raise

    def _confirm_attempt(self) -> float:
        """Have the server confirm the attempt; return when it was asked, in boot-time seconds."""
        asked_at = self._clock.boottime()
        self._retrying_session.start(self._task.id, self._connection_id, self._task.attempt)
        return asked_at

    def _may_begin(self, asked_at: float) -> bool:
        """Return whether the command may begin: a confirmation older than the TTL does not count."""
        if self._stop_reason is not None or self._lost_reason is not None:
            return False
        return self._clock.boottime() - asked_at < self._limits.heartbeat_ttl_s

    def _watch(self, group: ProcessGroup) -> RunOutcome | None:
        """Wait until the command has exited; return the outcome if it has to be stopped instead."""
        cut_short = self._wait_for_end(group)
        return None if cut_short is not None and group.has_command_ended() else cut_short

    def _wait_for_end(self, group: ProcessGroup) -> RunOutcome | None:
        """Wait until all processes have ended; return the outcome if the command has to be stopped before."""
        limit_s, began_at, now = self._plan.timeout_s, self._plan.began_at, self._clock.monotonic()
        ran_s = 0.0 if began_at is None else max(0.0, self._clock.wall() - began_at)
        ends_at = None if limit_s is None else now + limit_s - ran_s
        while group.wait(STEP_S) is None:
            if (requested := self._requested_end()) is not None:
                return requested
            if self._must_check.is_set():
                self._must_check.clear()
                if (why := self._loss_reason()) is not None:
                    return RunOutcome(kind=OWNERSHIP_LOST, detail=why)
            if ends_at is not None and self._clock.monotonic() >= ends_at:
                return RunOutcome(
                    kind=FAILED, detail=f"The command did not end within its {limit_s:g} s and was stopped."
                )
        return None

    def _requested_end(self) -> RunOutcome | None:
        """Return the outcome of a run that `stop` or `supersede` ended; None if neither was called."""
        if self._stop_reason is not None:
            return self._stopped_outcome(None)
        return None if self._lost_reason is None else RunOutcome(kind=OWNERSHIP_LOST, detail=self._lost_reason)

    def _conclude_run(self, ended: ExitStatus, cut_short: RunOutcome | None) -> RunOutcome:
        """Hand the output on, or return why not.

        What the command did by its own calls (a hand-off, a decline) counts more than how it exited.
        """
        try:
            now = self._retrying_session.task(self._task.id)
            if self._tenure.has_finished(now):
                return RunOutcome(
                    kind=SELF_REPORTED, detail=f"The command itself ended the task: {now.status}.", exit=ended
                )
            own_result, then = self._read_result(), self._plan.receiver
            if (
                cut_short is not None
                or not ended.is_success
                or (own_result is not None and own_result.status != command_result.DONE)
            ):
                return self._failed_outcome(now, ended, cut_short, own_result)
            text = self._result_text(own_result)
            is_empty = not text.strip()
            if is_empty and self._plan.is_empty_failure:
                printed = read_tail(self._plan.stderr, self._limits.stderr_bytes_kept)
                empty = RunOutcome(kind=FAILED, detail=f"{EMPTY_RESULT}\n{printed}".strip())
                return self._failed_outcome(now, ended, empty, own_result)
            self._send_result(NOTHING_WRITTEN if is_empty else text)
            sent = f"{EMPTY_RESULT} This was sent to {then}." if is_empty else f"Its output was sent to {then}."
            return RunOutcome(kind=DONE, detail=sent, exit=ended, keeps_files=self._is_cut(), is_empty=is_empty)
        except Superseded as error:
            is_lost = isinstance(error, NotKept)
            detail = f"{error} It is in {self._plan.stdout}." if is_lost else str(error)
            return RunOutcome(kind=OWNERSHIP_LOST, detail=detail, exit=ended, keeps_files=is_lost or self._is_cut())
        except Unavailable:
            return self._stopped_outcome(ended)
        except GreenroomError as error:
            detail = f"The output could not be sent: {error} It is in {self._plan.stdout}."
            return RunOutcome(kind=FAILED, detail=detail, exit=ended, keeps_files=True)

    def _failed_outcome(
        self, now: Task, ended: ExitStatus, cut_short: RunOutcome | None, own_result: CommandResult | None
    ) -> RunOutcome:
        if not self._tenure.is_owner(now):
            return self._hand_in_late(loss_reason(now), ended, own_result)
        if cut_short is not None:
            return msgspec.structs.replace(cut_short, exit=ended)
        if (paused := resolve_pause(own_result, ended, self._clock.wall(), self._limits)) is not None:
            return paused
        lines = [own_result.reason] if own_result is not None and own_result.status == command_result.FAILED else []
        lines += [] if ended.is_success else [f"{ended}." if ended.is_unknown else str(ended)]
        if ended.is_unknown:
            lines += [f"Its output is in {self._plan.stdout} and {self._plan.stderr}."]
        lines += [read_tail(self._plan.stderr, self._limits.stderr_bytes_kept)]
        return RunOutcome(kind=FAILED, detail="\n".join(lines).strip(), exit=ended, keeps_files=ended.is_unknown)

    def _read_result(self) -> CommandResult | None:
        """Return the command's own result. Each caller reads it once: what is judged is also what is handed on."""
        plan = self._plan
        return read_result(plan.result, plan.result_file, plan.stdout, self._limits.text_bytes_max)

    def _result_text(self, own_result: CommandResult | None) -> str:
        """Return what is handed on: the text of the command's own result if it has one, else what it printed."""
        if own_result is not None and own_result.text is not None:
            return own_result.text
        return read_text(self._plan.stdout, self._limits.text_bytes_max)

    def _stopped_outcome(self, ended: ExitStatus | None) -> RunOutcome:
        return RunOutcome(
            kind=STOPPED, detail=self._stop_reason or "stopped", exit=ended, keeps_files=ended is not None
        )

    def _send_result(self, text: str) -> Task:
        attempt = (self._task.id, self._connection_id, self._task.attempt)
        if self._plan.receiver == USER:
            return self._retrying_session.complete(*attempt, text)
        return self._retrying_session.handoff(*attempt, self._plan.receiver, text)

    def _hand_in_late(self, why: str, ended: ExitStatus | None, own_result: CommandResult | None) -> RunOutcome:
        """Hand in what a run wrote whose task another participant has by now: the server keeps it as a late result."""
        outcome, text = RunOutcome(kind=OWNERSHIP_LOST, detail=why, exit=ended), self._result_text(own_result)
        if not text:
            return outcome
        try:
            self._send_result(text)
        except NotKept as error:
            return msgspec.structs.replace(
                outcome, detail=f"{why} {error} It is in {self._plan.stdout}.", keeps_files=True
            )
        except Superseded:
            kept = f"{why} Its output was kept as a late result."
            return msgspec.structs.replace(outcome, detail=kept, keeps_files=self._is_cut())
        except GreenroomError as error:
            detail = f"{why} Its output could not be sent ({error.detail}) and is in {self._plan.stdout}."
            return msgspec.structs.replace(outcome, detail=detail, keeps_files=True)
        return outcome  # The task was this run's again by then, and the server accepted the result.

    def _is_cut(self) -> bool:
        streams = (self._plan.stdout, self._plan.result_file)
        return not all(fits_in(stream, self._limits.text_bytes_max) for stream in streams)

    def _loss_reason(self) -> str | None:
        """Return why the task is no longer this run's; None while it is, or while the server cannot be asked."""
        try:
            now = self._session.task(self._task.id)
        except GreenroomError:
            return None
        return None if self._tenure.is_owner(now) or self._tenure.has_finished(now) else loss_reason(now)
