import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from greenroom.domain.errors import AlreadyRunning
from greenroom.file_lock import ENDING, acquire_lock, read_holder
from greenroom.process.exit_signals import Shutdown

HOLD = """
import sys
from pathlib import Path
from greenroom.file_lock import acquire_lock
acquire_lock(Path(sys.argv[1]), "daemon").write_info("http://127.0.0.1:1")
print("held", flush=True)
sys.stdin.read()
"""


def test_second_holder_gets_pid_of_first(tmp_path: Path) -> None:
    path = tmp_path / "daemon.lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder.stdin, holder.stdout:
        assert holder.stdout.readline() == b"held\n"
        assert read_holder(path) == (holder.pid, "http://127.0.0.1:1")
        with pytest.raises(AlreadyRunning, match=str(holder.pid)):
            acquire_lock(path, "daemon")
        holder.kill()
        holder.wait()
    assert read_holder(path) == (None, "")
    with acquire_lock(path, "daemon"):  # a killed process leaves no lock behind
        assert read_holder(path)[0] == os.getpid()
    assert read_holder(path) == (None, "")


def test_holder_is_named_while_its_text_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`daemon stop` once took a daemon that wrote that it is ending for one that had ended."""
    path = tmp_path / "daemon.lock"
    seen: list[tuple[int | None, str]] = []
    truncate, write = os.ftruncate, os.pwrite

    def truncate_and_look(descriptor: int, size: int) -> None:
        truncate(descriptor, size)
        seen.append(read_holder(path))

    def write_and_look(descriptor: int, content: bytes, offset: int) -> int:
        count = write(descriptor, content, offset)
        seen.append(read_holder(path))
        return count

    with acquire_lock(path, "daemon") as lock:
        lock.write_info("a long text about the holder")
        monkeypatch.setattr(os, "ftruncate", truncate_and_look)
        monkeypatch.setattr(os, "pwrite", write_and_look)
        lock.write_info(ENDING)
        monkeypatch.undo()
    assert [(os.getpid(), ENDING)] * 2 == seen


def test_missing_lock_has_no_holder(tmp_path: Path) -> None:
    assert read_holder(tmp_path / "daemon.lock") == (None, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 0)])
def test_signal_ends_wait_with_exit_code(number: signal.Signals, code: int) -> None:
    ending = Shutdown()
    before = signal.getsignal(number)
    with ending.handle_signals():
        os.kill(os.getpid(), number)
        assert ending.wait() == code
    assert signal.getsignal(number) is before


def test_first_exit_code_counts() -> None:
    ending = Shutdown()
    ending.request(4)
    ending.request(1)
    assert ending.wait() == 4


def test_closed_parent_pipe_ends_wait() -> None:
    ending = Shutdown()
    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"still here")
    os.close(write_fd)
    assert ending.wait(read_fd) == 0
    os.close(read_fd)
