"""Delivers a user's notes to the run of one attempt, through a file.

A beat's answer carries all notes of the attempt each time, so that a lost answer loses none. A note is new by its
position: notes are only ever appended.
"""

import threading
from collections.abc import Sequence
from pathlib import Path

from greenroom.domain.task import Note, Task
from greenroom.private_files import make_private_folder, open_private, write_private_bytes

NOTES_VARIABLE = "GREENROOM_NOTES"
NOTES_HEADING = "Notes from users on this task:"


class NotesFile:
    """The notes of one attempt, and the file in which its run reads them, one after another."""

    def __init__(self, task: Task, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._early_texts = [note.text for note in task.notes]
        self._count = sum(note.attempt == task.attempt for note in task.notes)
        self._is_open = False
        self._is_counted = True

    def open(self) -> None:
        """Create the file, with the notes from before the run. Raises OSError."""
        make_private_folder(self._path.parent)
        with self._lock:
            write_private_bytes(self._path, "".join(map(format_note, self._early_texts)).encode())
            self._is_open = True

    def reopen(self) -> None:
        """Continue with the file of an earlier process; which notes it holds is found out with the next ones."""
        with self._lock:
            self._is_open, self._is_counted = True, False

    def append_new(self, notes: Sequence[str]) -> list[str]:
        """Append those of the attempt's notes that are new to the file, and return them.

        Raises OSError if the file cannot be written; they are still new the next time.
        """
        with self._lock:
            if not self._is_counted:
                self._count = self._count_in_file(notes)
                self._is_counted = True
            new = list(notes[self._count :])
            if new and self._is_open:
                with open(self._path, "a", encoding="utf-8", opener=open_private) as file:
                    file.write("".join(map(format_note, new)))
            elif new:
                self._early_texts += new
            self._count += len(new)
            return new

    def _count_in_file(self, notes: Sequence[str]) -> int:
        """Return with how many of the notes the file ends."""
        written = self._path.read_text("utf-8") if self._path.exists() else ""
        ends = (
            count for count in range(len(notes), 0, -1) if written.endswith("".join(map(format_note, notes[:count])))
        )
        return next(ends, 0)


def format_note(note: str) -> str:
    """Return a note as it is in the file: its lines unchanged, and a line break at the end."""
    return note.rstrip("\n") + "\n"


def format_input(task: Task) -> str:
    """Return what a run reads on standard input: the task's text, followed by the notes so far."""
    if not task.notes:
        return task.text
    return "\n".join([task.text.rstrip("\n"), "", NOTES_HEADING, *map(format_item, task.notes), ""])


def format_item(note: Note) -> str:
    """Return a note as one item of a list."""
    return "- " + note.text.strip("\n").replace("\n", "\n  ")
