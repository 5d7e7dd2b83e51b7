import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from greenroom.daemon.machine_identity import read_or_create_identity, record_registered, slugify_host
from greenroom.daemon.run_records import RunRecord, RunRecords
from greenroom.domain.errors import ConfigurationError
from greenroom.testing import SeededEntropy

RUN = RunRecord(task="task_1", attempt=2, room="room_1", role="builder", connection_id="conn_1")


def test_run_record_is_private_and_removed(tmp_path: Path) -> None:
    records = RunRecords(tmp_path / "runs")
    records.write(RUN)
    (path,) = (tmp_path / "runs").iterdir()
    assert (path.name, path.stat().st_mode & 0o777, list(records.read_all())) == ("task_1.2.json", 0o600, [RUN])
    records.remove(RUN)
    records.remove(RUN)
    assert list(records.read_all()) == []


def test_unreadable_record_is_set_aside(tmp_path: Path) -> None:
    records = RunRecords(tmp_path)
    (tmp_path / "task_1.1.json").write_text("{")
    records.write(RUN)
    assert list(records.read_all()) == [RUN]
    assert (tmp_path / "task_1.1.unreadable").exists()


def test_read_error_keeps_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    records = RunRecords(tmp_path)
    records.write(RUN)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda path: os.open("/dev/null", -1) if path.name else b"")
        assert list(records.read_all()) == []
    assert "the next start of the daemon tries again" in caplog.text
    assert list(records.read_all()) == [RUN]


def test_temporary_files_of_killed_daemon_are_removed(tmp_path: Path) -> None:
    records = RunRecords(tmp_path)
    records.write(RUN)
    (tmp_path / ".task_1.1.json.1").touch()
    own = tmp_path / f".task_1.2.json.{os.getpid()}"
    own.touch()
    records.remove_drafts()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([own.name, "task_1.2.json"])


def test_concurrent_checks_do_not_interfere(tmp_path: Path) -> None:
    records = RunRecords(tmp_path / "runs")
    with ThreadPoolExecutor(8) as pool:
        for check in [pool.submit(records.check_writable) for _ in range(200)]:
            check.result()
    assert list((tmp_path / "runs").iterdir()) == []


def test_machine_id_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    first = read_or_create_identity(path, SeededEntropy(1))
    assert read_or_create_identity(path, SeededEntropy(2)) == first
    record_registered(path, first)
    assert first.id.startswith(f"{first.name[:59]}-")
    renamed = read_or_create_identity(path, SeededEntropy(2), "tower")
    assert (renamed.id, renamed.name) == (first.id, "tower")


def test_named_machine_uses_name_as_id(tmp_path: Path) -> None:
    named = read_or_create_identity(tmp_path / "machine.json", SeededEntropy(1), "tower")
    assert (named.id, named.name) == ("tower", "tower")


def test_rejected_start_keeps_no_id(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    rejected = read_or_create_identity(path, SeededEntropy(1))
    named = read_or_create_identity(path, SeededEntropy(2), "tower")
    assert named.id == "tower" != rejected.id
    record_registered(path, named)
    assert read_or_create_identity(path, SeededEntropy(2), "castle").id == "tower"


@pytest.mark.parametrize("content", ["{", '{"id": "a b", "name": "x"}', "{}"])
def test_invalid_machine_file_is_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "machine.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match="the identity of this machine"):
        read_or_create_identity(path, SeededEntropy(1))
    assert path.read_text() == content


def test_machine_name_from_host_name() -> None:
    assert slugify_host("Büro PC.local") == "B-ro-PC"
    assert slugify_host("---") == "machine"
    assert len(slugify_host("x" * 300)) == 64
