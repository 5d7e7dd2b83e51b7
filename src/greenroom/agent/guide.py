"""Formats a task for its agent, with the commands that the agent should run next."""

import shlex

from greenroom.agent.claim_file import Claim
from greenroom.domain.ids import USER
from greenroom.domain.task import LateResult, Note
from greenroom.settings.resolve import Settings
from greenroom.wire.replies import ClaimedTask

PROGRAM = "greenroom"


class Guide:
    """Formats commands that work when copied: a URL or data directory given by flag is repeated as a flag."""

    def __init__(self, settings: Settings) -> None:
        flags = {"url": ("--url", settings.url), "data_dir": ("--data-dir", str(settings.data_dir))}
        given = [flag for name, flag in flags.items() if settings.origins.get(name, "").startswith("flag")]
        self._flags = [word for flag in given for word in flag]

    def spell(self, *words: str) -> str:
        return shlex.join([PROGRAM, *words, *self._flags])

    def wait(self, room: str, role: str) -> str:
        return self.spell("wait-for-task", room, "--role", role)

    def on(self, verb: str, claim: Claim, *words: str) -> str:
        """Return a command about one attempt at one task."""
        return self.spell(verb, *words, "--task", claim.task, "--attempt", str(claim.attempt))

    def at_work(self, claim: Claim) -> dict[str, str]:
        """Return the commands for a claimed task, by verb. Texts may be long, so they can be piped in."""
        text = "'your text'"
        return {
            "task-started": self.on("task-started", claim),
            "report-progress": f"{self.on('report-progress', claim)} {text}",
            "handoff": f"{self.on('handoff', claim, '--to', 'ROLE')} {text}",
            "task-complete": f"{self.on('task-complete', claim)} {text}",
            "decline": f"{self.on('decline', claim)} {text}",
        }

    def show(self, task: ClaimedTask, claim: Claim) -> str:
        """Return a task as its agent reads it: text, notes, results of earlier attempts, and the commands to use."""
        purposes = {
            "task-started": "first: report that you begin",
            "report-progress": "while you work: report how far you are",
            "handoff": f"when you are done: give your result to ROLE, the next role or `{USER}`",
            "task-complete": "instead of handoff, when the whole request is done: give your result to the user",
            "decline": "instead, when you cannot do the task: say why; a user looks at it",
        }
        commands = self.at_work(claim)
        lines = [
            f"Task {task.id} (attempt {task.attempt}) for {claim.role} in room {claim.room}:",
            "",
            task.text,
            "",
            *(line for note in task.notes for line in show_note(note)),
            *([""] if task.notes else []),
            *(line for late in task.late_results for line in show_late(late)),
            "Commands for this task (for a long text, write `-` in its place and pipe the text in):",
            *(f"  {commands[verb]}\n      {purpose}" for verb, purpose in purposes.items()),
            f"After handoff, task-complete or decline, for another task: {self.wait(claim.room, claim.role)}",
            f"next, to begin: {commands['task-started']}",
            "",
        ]
        return "\n".join(lines)


def show_note(note: Note) -> list[str]:
    """Return a user's note for the agent that works on the task, as lines."""
    return [f"A note by {note.by}, at {note.at}:", *(f"  {line}" for line in note.text.splitlines())]


def show_late(late: LateResult) -> list[str]:
    return [
        f"Late result of attempt {late.attempt}, sent to {late.to} at {late.at}. It does not count; use what is good:",
        "",
        late.text,
        "",
    ]
