"""The commands that agents are told to run next, and how a task is shown to them. Must not know how either is done."""

import shlex

from greenroom.agent.claim_file import Claim
from greenroom.domain.ids import USER
from greenroom.domain.task import LateResult, Note
from greenroom.settings.resolve import Settings
from greenroom.wire.replies import ClaimedTask

PROGRAM = "greenroom"


class Guide:
    """Spells commands so that they work as they stand: what was said by flag is said by flag again."""

    def __init__(self, settings: Settings) -> None:
        flags = {"url": ("--url", settings.url), "data_dir": ("--data-dir", str(settings.data_dir))}
        given = [flag for name, flag in flags.items() if settings.origins.get(name, "").startswith("flag")]
        self._flags = [word for flag in given for word in flag]

    def spell(self, *words: str) -> str:
        return shlex.join([PROGRAM, *words, *self._flags])

    def wait(self, room: str, role: str) -> str:
        return self.spell("wait-for-task", room, "--role", role)

    def on(self, verb: str, claim: Claim, *words: str) -> str:
        """A command about one attempt at one task."""
        return self.spell(verb, *words, "--task", claim.task, "--attempt", str(claim.attempt))

    def at_work(self, claim: Claim) -> dict[str, str]:
        """What an agent may do with a task, by verb. Texts may be long, so they are piped in."""
        text = "'your text'"
        return {
            "task-started": self.on("task-started", claim),
            "report-progress": f"{self.on('report-progress', claim)} {text}",
            "handoff": f"{self.on('handoff', claim, '--to', 'ROLE')} {text}",
            "task-complete": f"{self.on('task-complete', claim)} {text}",
            "decline": f"{self.on('decline', claim)} {text}",
        }

    def show(self, task: ClaimedTask, claim: Claim) -> str:
        """A task as an agent reads it: what to do, what earlier attempts left, and the commands to use."""
        says = {
            "task-started": "first, to say that you begin",
            "report-progress": "from time to time, to say how far you are",
            "handoff": f"at the end, to give your result to the next role (or to `{USER}`)",
            "task-complete": "instead, when the whole request is done",
            "decline": "instead, when you cannot do it: say why, a person looks at it",
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
            "Next (a long text can be piped in with `-` in its place):",
            *(f"  {commands[verb]}\n      {purpose}" for verb, purpose in says.items()),
            f"Then, for the next task: {self.wait(claim.room, claim.role)}",
            "",
        ]
        return "\n".join(lines)


def show_note(note: Note) -> list[str]:
    """What a person wants whoever works on the task to know."""
    return [f"A note by {note.by}, at {note.at}:", *(f"  {line}" for line in note.text.splitlines())]


def show_late(late: LateResult) -> list[str]:
    return [
        f"What attempt {late.attempt} handed in at {late.at}, for {late.to}, did not count; use what is good of it:",
        "",
        late.text,
        "",
    ]
