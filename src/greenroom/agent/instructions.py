"""Delivers a claimed task to its agent: stores what later commands need, then prints the task and what to run next."""

import os
import shlex
import sys
from typing import TextIO

import msgspec

from greenroom.agent import claim_file
from greenroom.agent.claim_file import Claim
from greenroom.domain.ids import USER
from greenroom.domain.task import LateResult, Note
from greenroom.process.agent_session import AgentSession
from greenroom.settings.resolve import Settings
from greenroom.wire.replies import ClaimedTask

PROGRAM = "greenroom"


class Instructions:
    """Formats commands that work when copied: a URL or data directory given by flag is repeated as a flag."""

    def __init__(self, settings: Settings) -> None:
        flags = {"url": ("--url", settings.url), "data_dir": ("--data-dir", str(settings.data_dir))}
        given = [flag for name, flag in flags.items() if settings.origins.get(name, "").startswith("flag")]
        self._flags = [word for flag in given for word in flag]

    def format_command(self, *words: str) -> str:
        return shlex.join([PROGRAM, *words, *self._flags])

    def wait_command(self, room: str, role: str) -> str:
        return self.format_command("wait-for-task", room, "--role", role)

    def attempt_command(self, verb: str, claim: Claim, *words: str) -> str:
        """Return a command about one attempt at one task."""
        return self.format_command(verb, *words, "--task", claim.task, "--attempt", str(claim.attempt))

    def task_commands(self, claim: Claim) -> dict[str, str]:
        """Return the commands for a claimed task, by verb. Texts may be long, so they can be piped in."""
        text = "'your text'"
        return {
            "task-started": self.attempt_command("task-started", claim),
            "report-progress": f"{self.attempt_command('report-progress', claim)} {text}",
            "handoff": f"{self.attempt_command('handoff', claim, '--to', 'ROLE')} {text}",
            "task-complete": f"{self.attempt_command('task-complete', claim)} {text}",
            "decline": f"{self.attempt_command('decline', claim)} {text}",
        }

    def format_task(self, task: ClaimedTask, claim: Claim) -> str:
        """Return a task as its agent reads it: text, notes, results of earlier attempts, and the commands to use."""
        purposes = {
            "task-started": "first: report that you begin",
            "report-progress": "while you work: report how far you are",
            "handoff": f"when you are done: give your result to ROLE, the next role or `{USER}`",
            "task-complete": "instead of handoff, when the whole request is done: give your result to the user",
            "decline": "instead, when you cannot do the task: say why; a user looks at it",
        }
        commands = self.task_commands(claim)
        lines = [
            f"Task {task.id} (attempt {task.attempt}) for {claim.role} in room {claim.room}:",
            "",
            task.text,
            "",
            *(line for note in task.notes for line in format_note_lines(note)),
            *([""] if task.notes else []),
            *(line for late in task.late_results for line in format_late_result(late)),
            "Commands for this task (for a long text, write `-` in its place and pipe the text in):",
            *(f"  {commands[verb]}\n      {purpose}" for verb, purpose in purposes.items()),
            f"After handoff, task-complete or decline, for another task: {self.wait_command(claim.room, claim.role)}",
            f"next, to begin: {commands['task-started']}",
            "",
        ]
        return "\n".join(lines)


def print_line(err: TextIO, line: str) -> None:
    """Print a line for the agent."""
    print(line, file=err, flush=True)


class TaskDelivery:
    """One task given to the agent that called. `room` is written as the agent wrote it."""

    def __init__(
        self, settings: Settings, room: str, role: str, out: TextIO, is_json: bool, session: AgentSession | None
    ) -> None:
        self._settings = settings
        self._session = session
        self._room, self._role = room, role
        self._out = out
        self._is_json = is_json
        self._guide = Instructions(settings)
        self._claim: Claim | None = None

    def store_claim(self, task: ClaimedTask, connection_id: str) -> None:
        """Store what later commands need to act for the task. Raises OSError."""
        self._claim = Claim(
            url=self._settings.url,
            room=self._room,
            role=self._role,
            task=task.id,
            attempt=task.attempt,
            connection_id=connection_id,
            token=task.token,
            notes_seen=len(task.notes),
            session=self._session,
        )
        claim_file.write(self._settings.data_dir, self._claim)

    def print_task(self, task: ClaimedTask) -> None:
        """Print the task and the commands to use. Raises OSError."""
        assert self._claim is not None, "`store_claim` is called before `print_task`"
        self._out.write(self._format(task, self._claim))
        self._out.flush()

    def remove_claim(self) -> None:
        """Remove what `store_claim` stored, so that no later command acts for the task."""
        if self._claim is not None:
            claim_file.remove(self._settings.data_dir, self._claim)

    def discard_output(self) -> None:
        """Discard further output, which has no reader: Python's flush at exit would print another error."""
        if self._out is sys.stdout:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._out.fileno())

    def _format(self, task: ClaimedTask, claim: Claim) -> str:
        if not self._is_json:
            return self._guide.format_task(task, claim)
        fields = {name: value for name, value in msgspec.structs.asdict(task).items() if name != "token"}
        document = {
            "task": fields,
            "connection_id": claim.connection_id,
            "next": {
                **self._guide.task_commands(claim),
                "wait-for-task": self._guide.wait_command(claim.room, claim.role),
            },
        }
        return msgspec.json.encode(document).decode() + "\n"


def format_note_lines(note: Note) -> list[str]:
    """Return a user's note for the agent that works on the task, as lines."""
    return [f"A note by {note.by}, at {note.at}:", *(f"  {line}" for line in note.text.splitlines())]


def format_late_result(late: LateResult) -> list[str]:
    return [
        f"Late result of attempt {late.attempt}, sent to {late.to} at {late.at}. It does not count; use what is good:",
        "",
        late.text,
        "",
    ]
