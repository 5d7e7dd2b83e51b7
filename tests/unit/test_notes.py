"""Which notes are new, and in which file a run finds them."""

from pathlib import Path

import pytest

from greenroom.client.task_notes import NotesFile, format_input
from greenroom.domain.task import Note
from tests.unit.scripted_transport import make_task

AT = "2026-11-20T23:46:34.120Z"


def make_note(text: str, attempt: int | None = None) -> Note:
    return Note(attempt=attempt, by="operator", text=text, at=AT)


def test_new_notes_are_found_by_position(tmp_path: Path) -> None:
    path = tmp_path / "run" / "notes"
    pad = NotesFile(
        make_task(attempt=2, notes=(make_note("red", 1), make_note("blue", None), make_note("green", 2))), path
    )
    pad.open()
    assert "red\nblue\ngreen\n" == path.read_text()
    assert [] == pad.append_new(("green",)), "the run started with this note"
    assert ["mind\nthe cat"] == pad.append_new(("green", "mind\nthe cat"))
    assert [] == pad.append_new(())
    assert [] == pad.append_new(("green", "mind\nthe cat"))
    assert ["mind\nthe cat"] == pad.append_new(("green", "mind\nthe cat", "mind\nthe cat")), (
        "a repeated text is a new note"
    )
    assert "red\nblue\ngreen\nmind\nthe cat\nmind\nthe cat\n" == path.read_text()


def test_notes_before_open_are_written(tmp_path: Path) -> None:
    pad = NotesFile(make_task(), tmp_path / "notes")
    assert ["blue"] == pad.append_new(("blue",))
    assert not (tmp_path / "notes").exists()
    pad.open()
    assert "blue\n" == (tmp_path / "notes").read_text()


def test_unwritten_note_stays_new(tmp_path: Path) -> None:
    pad = NotesFile(make_task(), tmp_path / "run" / "notes")
    pad.open()
    (tmp_path / "run" / "notes").unlink()
    (tmp_path / "run").rmdir()
    with pytest.raises(OSError, match="notes"):
        pad.append_new(("blue",))
    (tmp_path / "run").mkdir()
    assert ["blue"] == pad.append_new(("blue",))


def test_brief_has_notes_below_text() -> None:
    assert "build it" == format_input(make_task()), "without notes, the brief is the task's text"
    brief = format_input(make_task(notes=(make_note("red"), make_note("no,\nblue\n"))))
    assert "build it\n\nNotes from users on this task:\n- red\n- no,\n  blue\n" == brief
