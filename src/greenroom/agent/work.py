"""`greenroom work`: joins a role and runs a command once for each task.

The restart policy is that of `domain.restart_policy`. Options: those of the policy, and `first_contact_s`.
"""

import contextlib
import os
import shlex
import shutil
import threading
from argparse import Namespace
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TextIO

from greenroom.agent.instructions import Instructions, print_line
from greenroom.agent.interrupts import Interrupted, interruptible
from greenroom.agent.participation import DRAINED, Participation, new_connection_id
from greenroom.client.api_client import NO_LIMIT_S, ApiClient, Cause
from greenroom.client.run_outcome import DONE, FAILED, NOT_STARTED, PAUSED, SELF_REPORTED, STOPPED, RunOutcome
from greenroom.client.run_spec import RunSpec, default_receiver, task_environment
from greenroom.client.task_run import TaskRun
from greenroom.clock import SystemClock, format_instant, parse_instant
from greenroom.domain import restart_policy
from greenroom.domain.errors import ConfigurationError, GreenroomError, Unusable
from greenroom.domain.heartbeat_policy import STOP_DRAINED, STOP_SUPERSEDED
from greenroom.domain.ids import USER
from greenroom.domain.limits import VARIABLE_PREFIX
from greenroom.domain.restart_policy import RestartHistory, RestartStep
from greenroom.entropy import SystemEntropy
from greenroom.exit_codes import ExitCode
from greenroom.process.command import check_program
from greenroom.settings import paths
from greenroom.settings.files import close_data_dir
from greenroom.settings.resolve import NAMED_VARIABLES, Settings
from greenroom.wire.replies import ClaimedTask, HeartbeatReply, JoinReply

GENERATION = 0
"""An agent that a user runs has no agent spec: calling the command again starts with an empty history."""
REASON_MAX = 16 * 1024


def run(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Work in `arguments.role` of `arguments.room` until interrupted, drained or superseded; return the exit code."""
    close_data_dir(settings.data_dir)
    return WorkCommand(arguments, settings, err).run()


class WorkCommand:
    """One call of the command: one participant after another."""

    def __init__(self, arguments: Namespace, settings: Settings, err: TextIO) -> None:
        self._room, self._role = arguments.room, arguments.role
        self._command = tuple(arguments.command)
        self._cwd = paths.working_directory()
        self._settings, self._limits = settings, settings.limits
        self._print = partial(print_line, err)
        self._clock, self._entropy = SystemClock(), SystemEntropy()
        self._guide = Instructions(settings)
        self._then: str | None = arguments.then
        self._participation: Participation | None = None
        self._task_run: TaskRun | None = None
        self._task: ClaimedTask | None = None
        self._claimed_at = 0.0
        self._history = RestartHistory()

    def run(self) -> int:
        try:
            with interruptible():
                self._check_folder()
                check_program(self._command, self._cwd, os.environ)
                self._then = self._find_then()
                self._join_and_work(self._limits.first_contact_s)
                while True:
                    self._wait_for_restart()
                    self._check_folder()
                    self._join_and_work(NO_LIMIT_S)
        except Interrupted as signal:
            self._leave(f"interrupted by {signal}")
            self._print(f"interrupted; next, to work again: {self._restart_command()}")
            return ExitCode.INTERRUPTED
        except GreenroomError as error:
            self._leave(error.detail)
            if error.code != DRAINED:
                raise
            self._print(f"{error.detail} It has left.")
            return ExitCode.DONE
        except Exception as error:
            self._leave(f"it failed: {error!r}")
            raise

    def _check_folder(self) -> None:
        """Raise ConfigurationError if the command's folder was removed, before a task is claimed for it."""
        if not self._cwd.is_dir():
            raise ConfigurationError(
                f"The folder {self._cwd}, in which the command runs, was removed.",
                f"Make it again or change to another one, then run: {self._restart_command()}",
            )

    def _find_then(self) -> str:
        """Return the receiver of the output. Raises Unusable for a role that the room does not have."""
        with contextlib.closing(self._connect().with_patience(self._limits.first_contact_s)) as session:
            roles = [role.name for role in session.snapshot(self._room).roles]
        if self._role not in roles:
            raise Unusable(f"Room {self._room} has no role {self._role!r}.", f"Its roles are: {', '.join(roles)}.")
        if self._then not in (None, USER, *roles):
            raise Unusable(
                f"Room {self._room} has no role {self._then!r}.", f"Use --then with one of: {', '.join(roles)}, {USER}."
            )
        return self._then or default_receiver(roles, self._role)

    def _wait_for_restart(self) -> None:
        """Wait for as long as the policy says, and print it once. Raises GreenroomError if a user has to act first."""
        step = self._next_step()
        if self._history.needs_user:
            raise GreenroomError(
                f"{self._role} in {self._room} is {step.reason}",
                f"It is not run again by itself. Fix the cause, then run: {self._restart_command()}",
            )
        if step.until is not None:
            until = format_instant(self._clock.wall() + step.until - self._clock.boottime())
            self._print(f"{step.reason} (until {until})")
        while step.until is not None:
            self._wait(min(step.until - self._clock.boottime(), self._limits.wait_step_s))
            step = self._next_step()
        if self._history.is_probe_run:
            self._print(step.reason)

    def _next_step(self) -> RestartStep:
        return restart_policy.decide_step(True, GENERATION, None, self._history, self._clock.boottime())

    def _join_and_work(self, patience_s: float) -> None:
        """Join, and run tasks until a run fails: that ends the participant, and with it the attempt."""
        self._participation = participation = Participation(
            self._connect,
            self._room,
            self._role,
            new_connection_id(self._entropy),
            self._print,
            self._clock,
            self._entropy,
            on_beat=self._check_answer,
            on_end=self._handle_end,
        )
        participation.join(patience_s)
        self._print(
            f"working as {self._role} in {self._room} ({participation.connection_id}); output goes to {self._then}"
        )
        while True:
            task = participation.next_task()
            assert task is not None
            outcome = self._carry_out(participation, task)
            warning = "warning: " if outcome.is_empty else ""
            self._print(f"{warning}{task.id} (attempt {task.attempt}): {outcome.detail}")
            self._task = None
            if outcome.kind in (DONE, SELF_REPORTED):
                self._history = restart_policy.record_success(self._history, GENERATION)
            elif outcome.kind in (FAILED, PAUSED, NOT_STARTED):
                self._close(participation, outcome)
                return

    def _close(self, participation: Participation, outcome: RunOutcome) -> None:
        """End the participant after a run that did not complete its task, and record how long to wait before the next.

        The server counts failures, so one is reported until it is received; that of a probe run does not count against
        its task.
        """
        is_failure = outcome.kind == FAILED and not self._history.is_probe_run
        self._history = self._history_after(outcome)
        participation.leave("exited" if is_failure else "stopped", outcome.detail[:REASON_MAX], NO_LIMIT_S)
        self._participation = None

    def _history_after(self, outcome: RunOutcome) -> RestartHistory:
        now, fraction = self._clock.boottime(), self._entropy.fraction()
        if outcome.kind == PAUSED:
            until = None if outcome.until is None else now + parse_instant(outcome.until) - self._clock.wall()
            return restart_policy.record_pause(self._history, GENERATION, now, until, outcome.detail)
        record = restart_policy.record_failure if outcome.kind == FAILED else restart_policy.record_failed_start
        return record(self._history, GENERATION, now, fraction, self._limits, outcome.detail)

    def _carry_out(self, participation: Participation, task: ClaimedTask) -> RunOutcome:
        folder = paths.run(self._settings.data_dir, task.id, task.attempt)
        task_variables = task_environment(self._settings.url, self._room, self._role, task, participation.connection_id)
        plan = RunSpec(
            command=self._command,
            cwd=self._cwd,
            env=make_environment(os.environ, task_variables),
            receiver=str(self._then),
            folder=folder,
            ends_with_parent=True,
        )
        session = self._connect()
        task_run = TaskRun(session, task, participation.connection_id, plan, self._clock)
        self._print(f"{task.id} (attempt {task.attempt}): running {self._command[0]}")
        self._task, self._claimed_at, self._task_run = task, self._clock.boottime(), task_run
        outcome = None
        try:
            with participation.faster_beats():
                outcome = task_run.run()
            return outcome
        finally:
            self._task_run = None
            session.close()
            # The output of a run that was stopped, for example by a signal, was not sent anywhere.
            if has_output(plan) if outcome is None or outcome.kind == STOPPED else outcome.keeps_files:
                self._print(f"{task.id}: its whole output is in {plan.stdout}")
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def _check_answer(self, answer: HeartbeatReply | JoinReply, sent_at: float) -> None:
        """Stop a run that the server's answer does not confirm; only a beat sent after the claim is a proof."""
        task_run, task = self._task_run, self._task
        if task_run is None or task is None or sent_at <= self._claimed_at:
            return
        if answer.task is None or (answer.task.id, answer.task.attempt) != (task.id, task.attempt):
            task_run.check_ownership()
        elif isinstance(answer, HeartbeatReply):
            self._pass_notes(task_run, task, answer.notes)

    def _pass_notes(self, task_run: TaskRun, task: ClaimedTask, texts: Sequence[str]) -> None:
        try:
            new = task_run.deliver_notes(texts)
        except OSError as error:
            self._print(f"{task.id}: a note could not be written for the command: {error}")
            return
        for note in new:
            self._print(f"{task.id}: a note was passed to the command: {note}")

    def _handle_end(self, why: str) -> None:
        """Stop a run whose participant has ended. A drained one may finish."""
        task_run = self._task_run
        if task_run is None or why == STOP_DRAINED:
            return
        if why == STOP_SUPERSEDED:
            task_run.supersede("Another agent has taken over the role.")
        else:
            task_run.stop("The server refused this agent.")

    def _leave(self, reason: str) -> None:
        if self._participation is not None:
            cause: Cause = "left" if self._task is None else "stopped"
            if not self._participation.leave(cause, reason[:REASON_MAX]):
                ttl_s = self._limits.heartbeat_ttl_s
                self._print(f"note: the server could not be reached; {self._role} stays present for up to {ttl_s:g} s.")

    def _restart_command(self) -> str:
        then = ("--then", self._then) if self._then else ()
        return (
            self._guide.format_command("work", self._room, "--role", self._role, *then)
            + " -- "
            + shlex.join(self._command)
        )

    def _connect(self) -> ApiClient:
        return ApiClient(self._settings.url, self._settings.token, self._limits)

    def _wait(self, seconds: float) -> None:
        threading.Event().wait(seconds)


def has_output(plan: RunSpec) -> bool:
    """Return whether the command has printed anything."""
    with contextlib.suppress(OSError):
        return plan.stdout.stat().st_size > 0
    return False


def make_environment(parent: Mapping[str, str], task_variables: Mapping[str, str]) -> dict[str, str]:
    """Return the command's environment: its user's, but of Greenroom's own variables only those of this task."""
    own = {VARIABLE_PREFIX + name for name in NAMED_VARIABLES}
    return {name: value for name, value in parent.items() if name not in own} | dict(task_variables)
