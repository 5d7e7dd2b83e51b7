"""Which notes are new, and in which file a run finds them."""

from pathlib import Path

import pytest

from greenroom.client.notes import NotePad, brief_of
from greenroom.domain.task import Note
from tests.unit.scripted import task_of

AT = "2026-11-20T23:46:34.120Z"


def note(text: str, attempt: int | None = None) -> Note:
    return Note(attempt=attempt, by="operator", text=text, at=AT)


def test_what_is_new_is_told_by_its_place_however_often_it_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "run" / "notes"
    pad = NotePad(task_of(attempt=2, notes=(note("red", 1), note("blue", None), note("green", 2))), path)
    pad.open()
    assert "red\nblue\ngreen\n" == path.read_text()
    assert [] == pad.take(("green",)), "the run started with this note"
    assert ["mind\nthe cat"] == pad.take(("green", "mind\nthe cat"))
    assert [] == pad.take(())
    assert [] == pad.take(("green", "mind\nthe cat"))
    assert ["mind\nthe cat"] == pad.take(("green", "mind\nthe cat", "mind\nthe cat")), "a repeated text is a new note"
    assert "red\nblue\ngreen\nmind\nthe cat\nmind\nthe cat\n" == path.read_text()


def test_what_is_said_before_the_file_lies_there_is_in_it(tmp_path: Path) -> None:
    pad = NotePad(task_of(), tmp_path / "notes")
    assert ["blue"] == pad.take(("blue",))
    assert not (tmp_path / "notes").exists()
    pad.open()
    assert "blue\n" == (tmp_path / "notes").read_text()


def test_a_note_that_could_not_be_written_is_new_once_more(tmp_path: Path) -> None:
    pad = NotePad(task_of(), tmp_path / "run" / "notes")
    pad.open()
    (tmp_path / "run" / "notes").unlink()
    (tmp_path / "run").rmdir()
    with pytest.raises(OSError, match="notes"):
        pad.take(("blue",))
    (tmp_path / "run").mkdir()
    assert ["blue"] == pad.take(("blue",))


def test_a_run_reads_the_notes_so_far_below_its_text() -> None:
    assert "build it" == brief_of(task_of()), "without notes, the brief is the task's text"
    told = brief_of(task_of(notes=(note("red"), note("no,\nblue\n"))))
    assert "build it\n\nNotes from people on this task:\n- red\n- no,\n  blue\n" == told
