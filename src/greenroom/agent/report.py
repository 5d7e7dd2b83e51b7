"""What an agent says about its task: started, progress, complete, handoff, decline. Must not know how the task was got.

A text that an agent has written is never thrown away: what is too late is kept by the server, and what the server does
not take is kept in a file.
"""

import contextlib
import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import msgspec

from greenroom.agent import claim_file, sitting_file
from greenroom.agent.claim_file import Claim, Wanted
from greenroom.agent.guide import Guide, show_note
from greenroom.client import transport
from greenroom.client.session import Session
from greenroom.domain.errors import (
    Conflict,
    GreenroomError,
    Refused,
    Superseded,
    Unauthorized,
    Unavailable,
    Unusable,
)
from greenroom.domain.sitting import SUPERSEDED as SEAT_SUPERSEDED
from greenroom.domain.task import Note, Task
from greenroom.settings import paths
from greenroom.settings.private_file import write_text
from greenroom.settings.resolve import Settings

DONE, FAILED, USAGE, SUPERSEDED, UNREACHABLE = 0, 1, 2, 4, 69


def run_started(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Say that the agent begins."""
    report = Report(arguments, settings, out, err, "task-started")
    return report.run(lambda session, claim: session.start(claim.task, claim.connection_id, claim.attempt))


def run_progress(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Say how far the agent is."""
    text = arguments.text
    report = Report(arguments, settings, out, err, "report-progress")
    return report.run(lambda session, claim: session.progress(claim.task, claim.connection_id, claim.attempt, text))


def run_complete(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Hand the result to the user: the request is done."""
    text = arguments.text or ""
    report = Report(arguments, settings, out, err, "task-complete", text)
    return report.run(lambda session, claim: session.complete(claim.task, claim.connection_id, claim.attempt, text))


def run_handoff(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Hand the result to another role, or to the user."""
    to, text = arguments.to, arguments.text
    report = Report(arguments, settings, out, err, "handoff", text, ("--to", to))
    return report.run(lambda session, claim: session.handoff(claim.task, claim.connection_id, claim.attempt, to, text))


def run_decline(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Say why the agent cannot do it: a person looks at the task then."""
    reason = arguments.text
    report = Report(arguments, settings, out, err, "decline", reason)
    return report.run(lambda session, claim: session.decline(claim.task, claim.connection_id, claim.attempt, reason))


class Report:
    """One call of one of these commands. `result` is the text with which the task is over; None while it goes on.

    A result that was handed in may be handed in once more, and is answered as the first time: an agent cannot always
    know whether its command had come through.
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
        self._wanted = Wanted(task=arguments.task, attempt=arguments.attempt, room=arguments.room, role=arguments.role)
        self._is_json = arguments.json
        self._settings, self._out, self._err = settings, out, err
        self._verb, self._result, self._words = verb, result, words
        self._guide = Guide(settings)

    def run(self, call: Callable[[Session, Claim], Task]) -> int:
        try:
            claim = claim_file.choose(self._settings.data_dir, self._settings.url, self._wanted, os.environ)
        except Unusable as error:
            print(f"error: {error.detail}\n{error.guidance}", file=self._err)
            return USAGE
        if not claim.is_open and self._result is None:
            return self._is_over(claim)
        limits = self._settings.limits
        session = Session(claim.url, claim.token, limits, patience_s=limits.first_contact_s)
        try:
            task = call(session, claim)
        except Conflict as error:
            return self._too_late(claim, error, is_kept=type(error) is Superseded)
        except Unavailable as error:
            return self._unreachable(claim, error)
        except GreenroomError as error:
            if is_word_of_the_end(error):
                return self._too_late(claim, error, is_kept=False)
            raise self._refused(claim, error) from None
        finally:
            session.close()
        if self._result is not None:
            self._finish(claim)
        self._answer(claim, task)
        return DONE

    def _answer(self, claim: Claim, task: Task) -> None:
        following = self._next(claim)
        notes = self._new_notes(claim, task)
        if not claim.is_open and task.result not in (None, self._result):
            print("note: this attempt had another result, which counts; this one was kept beside it.", file=self._err)
        if self._is_json:
            document = {"task": task, "notes": notes, "next": following}
            self._out.write(msgspec.json.encode(document).decode() + "\n")
            return
        went = f", handed to {task.handed_to}" if self._result is not None and task.handed_to else ""
        print(f"{task.id} (attempt {task.attempt}) is {task.status}{went}", file=self._out)
        for note in notes:
            print("\n".join(show_note(note)), file=self._out)
        for purpose, command in following.items():
            print(f"next, {purpose}: {command}", file=self._out)

    def _new_notes(self, claim: Claim, task: Task) -> list[Note]:
        """The notes that the agent has not seen; a process that was run for the task has no file to count them in."""
        if self._result is not None:
            return []
        if self._is_run_for_task(claim):
            return [note for note in task.notes if note.attempt == claim.attempt]
        new = list(task.notes[claim.notes_seen :])
        if new:
            with contextlib.suppress(OSError):  # They are shown once more then, which is better than never.
                claim_file.write(
                    self._settings.data_dir, msgspec.structs.replace(claim, notes_seen=claim.notes_seen + len(new))
                )
        return new

    def _next(self, claim: Claim) -> dict[str, str]:
        """What to run next, by purpose."""
        if self._result is None:
            verbs = self._guide.at_work(claim)
            return {"to hand your result on": verbs["handoff"], "when the request is done": verbs["task-complete"]}
        if self._is_run_for_task(claim):
            return {"this was all": "exit"}
        return {"for another task": self._guide.wait(claim.room, claim.role)}

    def _is_over(self, claim: Claim) -> int:
        """Tell an agent that goes on with what it has handed in already."""
        print(
            f"error: Attempt {claim.attempt} at {claim.task} is over: its result was handed in from here.\n"
            f"Stop working on it. next, for another task: {self._guide.wait(claim.room, claim.role)}",
            file=self._err,
        )
        return SUPERSEDED

    def _too_late(self, claim: Claim, error: GreenroomError, is_kept: bool) -> int:
        """Tell an agent that works on what is another's by now to stop; never to call again."""
        over = f"Attempt {claim.attempt} at {claim.task} is over: it was given away, or its task is."
        print(f"error: {over if isinstance(error, Refused) else error.detail}", file=self._err)
        if self._result is None:
            print(
                "Stop working on this task. If you have a result already, hand it in: it is kept as a late result. "
                f"next: {self._guide.at_work(claim)['task-complete']}",
                file=self._err,
            )
        else:
            self._finish(claim)
            path = None if is_kept else self._keep(claim)
            if is_kept:
                kept = f"Your text was kept as a late result of {claim.task}, for people and for the new holder."
            elif path is not None:
                kept = f"Your text was not taken; it is kept in {path}: tell people where it is."
            else:
                kept = "Your text was not taken."
            print(f"{kept} Stop working on this task.", file=self._err)
        if not self._is_run_for_task(claim):
            self._say_stopped(claim)
        return SUPERSEDED

    def _say_stopped(self, claim: Claim) -> None:
        """Tell the server that an agent whose seat is another's by now was told to stop: the other one waits for it.

        Only then: an attempt may be over while its sitting goes on, perhaps with another task already.
        """
        if claim_file.kept_as(claim, os.environ):
            return  # Its daemon ends this process, and tells that.
        session = Session(claim.url, self._settings.token, self._settings.limits)
        with contextlib.closing(session), contextlib.suppress(GreenroomError):
            if session.beat(claim.room, claim.role, claim.connection_id).status != SEAT_SUPERSEDED:
                print(f"next, for another task: {self._guide.wait(claim.room, claim.role)}", file=self._err)
                return
            print(f"Another agent has the role {claim.role}: do not wait for its tasks unless told to.", file=self._err)
            session.leave(claim.room, claim.role, claim.connection_id, "stopped", "its agent was told to stop")

    def _refused(self, claim: Claim, error: GreenroomError) -> GreenroomError:
        """The error of a call that was wrong; its text is kept, so that it can be sent by the right one."""
        # Who was named wrong is not to be named once more.
        words = ("--to", "ROLE") if self._words and isinstance(error, Unusable) else self._words
        again = self._guide.on(self._verb, claim, *words)
        path = self._keep(claim)
        kept = f"Your text is kept in {path}. " if path is not None else ""
        following = f"{again} - < {path}" if path is not None else again
        error.guidance += f"\n{kept}next, when that is put right: {following}"
        return error

    def _unreachable(self, claim: Claim, error: Unavailable) -> int:
        print(f"error: {error.detail}\n{error.guidance}", file=self._err)
        again = self._guide.on(self._verb, claim, *self._words)
        path = self._keep(claim)
        if path is not None:
            print(f"Your text is kept in {path}. next, when the server is back: {again} - < {path}", file=self._err)
        else:
            print(f"next, when the server is back: {again}", file=self._err)
        return UNREACHABLE if error.code == transport.UNREACHABLE else FAILED

    def _keep(self, claim: Claim) -> Path | None:
        """Keep the text for another try; None where there is none, or no place for it."""
        if not self._result:
            return None
        path = self._draft(claim)
        try:
            write_text(path, self._result)
        except OSError as error:
            print(f"warning: your text could not be kept ({error}): keep it yourself.", file=self._err)
            return None
        return path

    def _finish(self, claim: Claim) -> None:
        """The task is over: nothing may pick it up by itself again, and the sitting may be carried on."""
        if self._is_run_for_task(claim) or not claim.is_open:
            return
        claim_file.finish(self._settings.data_dir, claim)
        folder = paths.sittings(self._settings.data_dir, claim.url, claim.room, claim.role)
        # The server has heard it, and that is what counts: no trouble with our own files may look like a failure.
        with contextlib.suppress(OSError):
            self._draft(claim).unlink(missing_ok=True)
            sitting_file.finish(folder, claim.connection_id)

    def _draft(self, claim: Claim) -> Path:
        return claim_file.path_of(self._settings.data_dir, claim).with_suffix(f".{self._verb}.txt")

    def _is_run_for_task(self, claim: Claim) -> bool:
        """Tell whether this was called by a process that was run for this one task, and has no file of its own."""
        return claim_file.told_by(os.environ, self._settings.url) == claim


def is_word_of_the_end(error: GreenroomError) -> bool:
    """Tell whether an attempt's token was refused because its attempt is over: for anything else it was good."""
    return isinstance(error, Refused) and not isinstance(error, Unauthorized) and error.code == Refused.code
