"""The lock on the data directory, with real processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from greenroom.domain.errors import AlreadyRunning, ConfigurationError
from greenroom.file_lock import acquire_lock
from greenroom.store.store import LOCK_NAME

HOLDER = """
import sys
from pathlib import Path
from greenroom.file_lock import acquire_lock
lock = acquire_lock(Path(sys.argv[1]) / 'server.lock', 'server')
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def run_holder(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock until its stdin is closed."""
    command = [sys.executable, "-c", HOLDER, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_second_process_gets_holder_and_guidance(tmp_path: Path) -> None:
    with run_holder(tmp_path) as process:
        with pytest.raises(AlreadyRunning) as caught:
            acquire_lock(tmp_path / LOCK_NAME, "server")
        assert f"process {process.pid}" in caught.value.detail
        assert "--data-dir" in caught.value.guidance


def test_killed_process_frees_lock(tmp_path: Path) -> None:
    with run_holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        acquire_lock(tmp_path / LOCK_NAME, "server").release()


def test_released_lock_can_be_taken(tmp_path: Path) -> None:
    first = acquire_lock(tmp_path / LOCK_NAME, "server")
    assert (tmp_path / LOCK_NAME).read_text().startswith(f"{os.getpid()}\n")
    with pytest.raises(AlreadyRunning):
        acquire_lock(tmp_path / LOCK_NAME, "server")
    first.release()
    first.release()
    acquire_lock(tmp_path / LOCK_NAME, "server").release()


def test_removed_file_is_no_held_lock(tmp_path: Path) -> None:
    lock = acquire_lock(tmp_path / LOCK_NAME, "server")
    assert lock.is_held()
    (tmp_path / LOCK_NAME).unlink()
    assert not lock.is_held()
    lock.release()


def test_new_directory_is_private(tmp_path: Path) -> None:
    empty, used, new = tmp_path / "empty", tmp_path / "used", tmp_path / "a" / "new"
    for directory in (empty, used):
        directory.mkdir(mode=0o755)
    (used / "a file").touch()
    for directory in (empty, used, new):
        acquire_lock(directory / LOCK_NAME, "server").release()
    assert [directory.stat().st_mode & 0o777 for directory in (empty, used, new)] == [0o700, 0o755, 0o700]


def test_unwritable_lock_is_configuration_error(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).mkdir()
    with pytest.raises(ConfigurationError, match="cannot be used"):
        acquire_lock(tmp_path / LOCK_NAME, "server")


def test_uncreatable_directory_is_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be used"):
        acquire_lock(tmp_path / "file" / "data" / LOCK_NAME, "server")
