import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from greenroom.daemon.machine import keep, slug, this_machine
from greenroom.daemon.runs import Run, RunBook
from greenroom.domain.errors import ConfigurationError
from greenroom.entropy import SeededEntropy

RUN = Run(task="task_1", attempt=2, room="room_1", role="builder", connection_id="conn_1")


def test_a_run_is_written_for_its_owner_alone_and_forgotten_when_its_end_is_safe(tmp_path: Path) -> None:
    book = RunBook(tmp_path / "runs")
    book.note(RUN)
    (path,) = (tmp_path / "runs").iterdir()
    assert (path.name, path.stat().st_mode & 0o777, list(book.read_all())) == ("task_1.2.json", 0o600, [RUN])
    book.forget(RUN)
    book.forget(RUN)
    assert list(book.read_all()) == []


def test_a_file_that_tells_of_no_run_is_put_aside(tmp_path: Path) -> None:
    book = RunBook(tmp_path)
    (tmp_path / "task_1.1.json").write_text("{")
    book.note(RUN)
    assert list(book.read_all()) == [RUN]
    assert (tmp_path / "task_1.1.unreadable").exists()


def test_a_run_that_cannot_be_read_just_now_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    book = RunBook(tmp_path)
    book.note(RUN)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda path: os.open("/dev/null", -1) if path.name else b"")
        assert list(book.read_all()) == []
    assert "the next start of the daemon tries again" in caplog.text
    assert list(book.read_all()) == [RUN]


def test_what_a_killed_daemon_was_writing_is_swept_away(tmp_path: Path) -> None:
    book = RunBook(tmp_path)
    book.note(RUN)
    (tmp_path / ".task_1.1.json.1").touch()
    own = tmp_path / f".task_1.2.json.{os.getpid()}"
    own.touch()
    book.sweep()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([own.name, "task_1.2.json"])


def test_seats_that_look_at_the_same_moment_do_not_disturb_each_other(tmp_path: Path) -> None:
    book = RunBook(tmp_path / "runs")
    with ThreadPoolExecutor(8) as pool:
        for look in [pool.submit(book.check) for _ in range(200)]:
            look.result()
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_machine_keeps_its_id(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    first = this_machine(path, SeededEntropy(1))
    assert this_machine(path, SeededEntropy(2)) == first
    keep(path, first)
    assert first.id.startswith(f"{first.name[:59]}-")
    renamed = this_machine(path, SeededEntropy(2), "tower")
    assert (renamed.id, renamed.name) == (first.id, "tower")


def test_a_machine_that_is_named_at_its_first_start_is_whom_its_token_was_made_for(tmp_path: Path) -> None:
    named = this_machine(tmp_path / "machine.json", SeededEntropy(1), "tower")
    assert (named.id, named.name) == ("tower", "tower")


def test_a_start_that_no_server_took_does_not_settle_the_id(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    refused = this_machine(path, SeededEntropy(1))
    named = this_machine(path, SeededEntropy(2), "tower")
    assert named.id == "tower" != refused.id
    keep(path, named)
    assert this_machine(path, SeededEntropy(2), "castle").id == "tower"


@pytest.mark.parametrize("content", ["{", '{"id": "a b", "name": "x"}', "{}"])
def test_a_file_that_names_no_machine_is_told_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "machine.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match="the identity of this machine"):
        this_machine(path, SeededEntropy(1))
    assert path.read_text() == content


def test_any_host_has_a_name() -> None:
    assert slug("Büro PC.local") == "B-ro-PC"
    assert slug("---") == "machine"
    assert len(slug("x" * 300)) == 64
