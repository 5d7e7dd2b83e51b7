"""The commands by which an agent reports on its task: task-started, report-progress, task-complete, handoff, decline.

A text that an agent wrote is never lost: the server keeps one that comes too late, and one that the server does not
accept is saved in a file.
"""

import contextlib
import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import msgspec

from greenroom.agent import claim_file, connection_file
from greenroom.agent.claim_file import Claim, ClaimQuery
from greenroom.agent.former_folders import move_former_folders
from greenroom.agent.instructions import Instructions, format_note_lines
from greenroom.client import http_transport
from greenroom.client.api_client import ApiClient
from greenroom.domain.errors import (
    Conflict,
    GreenroomError,
    Refused,
    Superseded,
    Unauthorized,
    Unavailable,
    Unusable,
)
from greenroom.domain.participant import SUPERSEDED as SEAT_SUPERSEDED
from greenroom.domain.task import Note, Task
from greenroom.exit_codes import ExitCode
from greenroom.settings.files import write_text
from greenroom.settings.resolve import Settings


def run_started(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Report that the agent begins."""
    report = TaskReport(arguments, settings, out, err, "task-started")
    return report.run(lambda session, claim: session.start(claim.task, claim.connection_id, claim.attempt))


def run_progress(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Report how far the agent is."""
    text = arguments.text
    report = TaskReport(arguments, settings, out, err, "report-progress")
    return report.run(lambda session, claim: session.progress(claim.task, claim.connection_id, claim.attempt, text))


def run_complete(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Give the result to the user: the request is done."""
    text = arguments.text or ""
    report = TaskReport(arguments, settings, out, err, "task-complete", text)
    return report.run(lambda session, claim: session.complete(claim.task, claim.connection_id, claim.attempt, text))


def run_handoff(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Give the result to another role, or to the user."""
    to, text = arguments.to, arguments.text
    report = TaskReport(arguments, settings, out, err, "handoff", text, ("--to", to))
    return report.run(lambda session, claim: session.handoff(claim.task, claim.connection_id, claim.attempt, to, text))


def run_decline(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Report why the agent cannot do the task, so that a user looks at it."""
    reason = arguments.text
    report = TaskReport(arguments, settings, out, err, "decline", reason)
    return report.run(lambda session, claim: session.decline(claim.task, claim.connection_id, claim.attempt, reason))


class TaskReport:
    """One call of one of these commands. `result` is the text that ends the task; None if the task goes on.

    A result may be handed in again, and is answered as the first time: an agent cannot always know whether its command
    succeeded.
    """

    def __init__(
        self,
        arguments: Namespace,
        settings: Settings,
        out: TextIO,
        err: TextIO,
        verb: str,
        result: str | None = None,
        words: tuple[str, ...] = (),
    ) -> None:
        self._wanted = ClaimQuery(
            task=arguments.task, attempt=arguments.attempt, room=arguments.room, role=arguments.role
        )
        self._is_json = arguments.json
        self._settings, self._out, self._err = settings, out, err
        self._verb, self._result, self._words = verb, result, words
        self._guide = Instructions(settings)

    def run(self, call: Callable[[ApiClient, Claim], Task]) -> int:
        move_former_folders(self._settings)
        try:
            claim = claim_file.resolve_claim(self._settings.data_dir, self._settings.url, self._wanted, os.environ)
        except Unusable as error:
            print(f"error: {error.detail}\n{error.guidance}", file=self._err)
            return ExitCode.USAGE
        if not claim.is_open and self._result is None:
            return self._reject_finished(claim)
        limits = self._settings.limits
        session = ApiClient(claim.url, claim.token, limits, patience_s=limits.first_contact_s)
        try:
            task = call(session, claim)
        except Conflict as error:
            return self._reject(claim, error, is_kept=type(error) is Superseded)
        except Unavailable as error:
            return self._unreachable(claim, error)
        except GreenroomError as error:
            if is_attempt_over(error):
                return self._reject(claim, error, is_kept=False)
            raise self._refused(claim, error) from None
        finally:
            session.close()
        if self._result is not None:
            self._finish(claim)
        self._print_task(claim, task)
        return ExitCode.DONE

    def _print_task(self, claim: Claim, task: Task) -> None:
        following = self._next_commands(claim)
        notes = self._new_notes(claim, task)
        if not claim.is_open and task.result not in (None, self._result):
            print("note: this attempt already had a result, which counts; this one was kept as well.", file=self._err)
        if self._is_json:
            document = {"task": task, "notes": notes, "next": following}
            self._out.write(msgspec.json.encode(document).decode() + "\n")
            return
        went = f", handed to {task.handed_to}" if self._result is not None and task.handed_to else ""
        print(f"{task.id} (attempt {task.attempt}) is {task.status}{went}", file=self._out)
        for note in notes:
            print("\n".join(format_note_lines(note)), file=self._out)
        for purpose, command in following.items():
            print(f"next, {purpose}: {command}", file=self._out)

    def _new_notes(self, claim: Claim, task: Task) -> list[Note]:
        """Return the notes that the agent has not seen.

        A process that was run for the task has no file to count them in, and gets all of its attempt's notes.
        """
        if self._result is not None:
            return []
        if self._is_run_for_task(claim):
            return [note for note in task.notes if note.attempt == claim.attempt]
        new = list(task.notes[claim.notes_seen :])
        if new:
            with contextlib.suppress(OSError):  # They are then shown again, which is better than never.
                claim_file.write(
                    self._settings.data_dir, msgspec.structs.replace(claim, notes_seen=claim.notes_seen + len(new))
                )
        return new

    def _next_commands(self, claim: Claim) -> dict[str, str]:
        """Return the commands to run next, by purpose."""
        if self._result is None:
            verbs = self._guide.task_commands(claim)
            return {"to hand your result on": verbs["handoff"], "if the whole request is done": verbs["task-complete"]}
        if self._is_run_for_task(claim):
            return {"as your task is over": "exit"}
        return {"for another task": self._guide.wait_command(claim.room, claim.role)}

    def _reject_finished(self, claim: Claim) -> int:
        """Print that the task is over, for an agent that goes on after it has handed in its result."""
        print(
            f"error: Attempt {claim.attempt} at {claim.task} is over: you have handed in its result.\n"
            f"Stop working on it. next, for another task: {self._guide.wait_command(claim.room, claim.role)}",
            file=self._err,
        )
        return ExitCode.CONFLICT

    def _reject(self, claim: Claim, error: GreenroomError, is_kept: bool) -> int:
        """Print that the agent must stop working on a task that another attempt has, or that is over."""
        over = f"Attempt {claim.attempt} at {claim.task} is over: its task is over, or another attempt has it."
        print(f"error: {over if isinstance(error, Refused) else error.detail}", file=self._err)
        if self._result is None:
            print(
                "Stop working on this task. If you already have a result, hand it in; it is kept as a late result. "
                f"next, if you have a result: {self._guide.task_commands(claim)['task-complete']}",
                file=self._err,
            )
        else:
            self._finish(claim)
            path = None if is_kept else self._save_text(claim)
            if is_kept:
                kept = f"Your text was kept as a late result of {claim.task}, for users and for the new holder."
            elif path is not None:
                kept = f"The server did not accept your text. It is saved in {path}: report this path to the user."
            else:
                kept = "The server did not accept your text."
            print(f"{kept} Stop working on this task.", file=self._err)
        if not self._is_run_for_task(claim):
            self._acknowledge_stop(claim)
        return ExitCode.CONFLICT

    def _acknowledge_stop(self, claim: Claim) -> None:
        """Report to the server that a superseded agent was notified to stop: its task waits for that.

        Only if the participant itself is superseded: an attempt may be over while its participant continues, perhaps
        with another task.
        """
        if claim_file.is_kept_by_daemon(claim, os.environ):
            return  # Its daemon ends this process, and reports that.
        session = ApiClient(claim.url, self._settings.token, self._settings.limits)
        with contextlib.closing(session), contextlib.suppress(GreenroomError):
            if session.beat(claim.room, claim.role, claim.connection_id).status != SEAT_SUPERSEDED:
                print(f"next, for another task: {self._guide.wait_command(claim.room, claim.role)}", file=self._err)
                return
            print(
                f"Another agent has the role {claim.role}. Stop. Do not wait for its tasks unless a user asks for it.",
                file=self._err,
            )
            session.leave(claim.room, claim.role, claim.connection_id, "stopped", "its agent was notified to stop")

    def _refused(self, claim: Claim, error: GreenroomError) -> GreenroomError:
        """Return the error of an invalid call; its text is saved, so that the corrected command can send it."""
        # A role that may be wrong is not repeated in the command.
        words = ("--to", "ROLE") if self._words and isinstance(error, Unusable) else self._words
        again = self._guide.attempt_command(self._verb, claim, *words)
        path = self._save_text(claim)
        kept = f"Your text is saved in {path}. " if path is not None else ""
        following = f"{again} - < {path}" if path is not None else again
        error.guidance += f"\n{kept}next, when that is fixed: {following}"
        return error

    def _unreachable(self, claim: Claim, error: Unavailable) -> int:
        print(f"error: {error.detail}\n{error.guidance}", file=self._err)
        again = self._guide.attempt_command(self._verb, claim, *self._words)
        path = self._save_text(claim)
        if path is not None:
            print(f"Your text is saved in {path}. next, when the server is back: {again} - < {path}", file=self._err)
        else:
            print(f"next, when the server is back: {again}", file=self._err)
        return ExitCode.UNREACHABLE if error.code == http_transport.UNREACHABLE else ExitCode.FAILED

    def _save_text(self, claim: Claim) -> Path | None:
        """Save the text for another try; return None if there is none, or if it cannot be saved."""
        if not self._result:
            return None
        path = self._draft(claim)
        try:
            write_text(path, self._result)
        except OSError as error:
            print(f"warning: your text could not be saved ({error}). Keep a copy of it.", file=self._err)
            return None
        return path

    def _finish(self, claim: Claim) -> None:
        """Record that the task is over, so that no later command uses it and the next wait can continue."""
        if self._is_run_for_task(claim) or not claim.is_open:
            return
        claim_file.finish(self._settings.data_dir, claim)
        folder = connection_file.folder_of(self._settings.data_dir, claim.url, claim.room, claim.role)
        # The server has the result, and that is what counts: an error with a local file must not look like a failure.
        with contextlib.suppress(OSError):
            self._draft(claim).unlink(missing_ok=True)
            connection_file.record_finish(folder, claim.connection_id)

    def _draft(self, claim: Claim) -> Path:
        return claim_file.path_of(self._settings.data_dir, claim).with_suffix(f".{self._verb}.txt")

    def _is_run_for_task(self, claim: Claim) -> bool:
        """Return whether the calling process was run for this one task, and so has no claim file."""
        return claim_file.claim_of_environment(os.environ, self._settings.url) == claim


def is_attempt_over(error: GreenroomError) -> bool:
    """Return whether an attempt's token was refused because its attempt is over: it allows every other call here."""
    return isinstance(error, Refused) and not isinstance(error, Unauthorized) and error.code == Refused.code
