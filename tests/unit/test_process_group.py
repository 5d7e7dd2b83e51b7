import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from greenroom.domain.errors import ConfigurationError
from greenroom.process.identity import ProcessIdentity, identity_of, is_alive
from greenroom.process.process_group import ExitStatus, ProcessGroup
from greenroom.process.process_tree import end_leftover
from tests.unit.process_checks import has_ended, running_processes, wait_until_written
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

ENVIRONMENT = {"PATH": os.environ["PATH"]}
STUBBORN = "trap '' TERM; (trap '' TERM; sleep 1000) & setsid sleep 1000 & echo $! $$; wait"


def spawn(tmp_path: Path, script: str, stdin: bytes = b"") -> ProcessGroup:
    return ProcessGroup.spawn(["sh", "-c", script], tmp_path, ENVIRONMENT, stdin, tmp_path)


def spawn_and_kill_shim(tmp_path: Path, script: str) -> tuple[ProcessGroup, psutil.Process]:
    """A command whose shim was killed, and the process whose number it printed. Its other processes are killed too."""
    group = spawn(tmp_path, script)
    leftover = psutil.Process(int(wait_until_written(tmp_path / "stdout")))
    others = [process for process in descendants_of(group) if process != leftover]
    os.kill(group.identity.pid, signal.SIGKILL)
    for process in others:
        process.kill()
    group.wait(PATIENCE_S)
    wait_until(lambda: running_processes(others) == [], "the other processes have ended")
    return group, leftover


def descendants_of(group: ProcessGroup) -> list[psutil.Process]:
    return psutil.Process(group.identity.pid).children(recursive=True)


def wait_for_descendants(group: ProcessGroup, count: int) -> list[psutil.Process]:
    wait_until(lambda: len(descendants_of(group)) >= count, f"{count} processes run")
    return descendants_of(group)


def test_input_and_output_files(tmp_path: Path) -> None:
    group = spawn(tmp_path, "cat; echo oops >&2; exit 3", b"hello")
    assert group.wait(PATIENCE_S) == ExitStatus(3, None)
    assert (tmp_path / "stdout").read_bytes() == b"hello"
    assert (tmp_path / "stderr").read_bytes() == b"oops\n"
    assert (tmp_path / "stdout").stat().st_mode & 0o777 == 0o600


def test_exit_by_signal_or_code(tmp_path: Path) -> None:
    ended = spawn(tmp_path, "kill -9 $$").wait(PATIENCE_S)
    assert ended == ExitStatus(None, signal.SIGKILL)
    assert str(ended) == "ended by SIGKILL"
    assert str(ExitStatus(3, None)) == "exit code 3"


def test_running_command_has_no_exit(tmp_path: Path) -> None:
    group = spawn(tmp_path, "sleep 1000")
    assert group.poll() is None
    assert group.wait(0.01) is None
    assert group.stop(PATIENCE_S) == ExitStatus(None, signal.SIGTERM)
    assert group.poll() == ExitStatus(None, signal.SIGTERM)


def test_stop_ends_group_that_ignores_term(tmp_path: Path) -> None:
    group = spawn(tmp_path, STUBBORN)
    wait_until_written(tmp_path / "stdout")
    descendants = wait_for_descendants(
        group, 3
    )  # the shell, a subshell that ignores TERM, and a grandchild in a session of its own
    assert group.stop(0.2) == ExitStatus(None, signal.SIGKILL)
    assert running_processes(descendants) == []


def test_stop_after_exit_ends_leftovers(tmp_path: Path) -> None:
    group, leftover = spawn_and_kill_shim(tmp_path, "sleep 1000 & echo $!; wait")
    assert not has_ended(leftover)
    assert group.stop(PATIENCE_S) == ExitStatus(None, None)
    assert has_ended(leftover)


def test_stop_of_ended_group_succeeds(tmp_path: Path) -> None:
    group = spawn(tmp_path, "exit 0")
    assert group.wait(PATIENCE_S) == ExitStatus(0, None)
    assert group.stop(PATIENCE_S) == ExitStatus(0, None)
    assert group.stop(PATIENCE_S) == ExitStatus(0, None)


@pytest.mark.parametrize("script", ["sleep 0.2; wc -c", "exec sleep 0.2"], ids=["slow reader", "never reads"])
def test_large_input_does_not_block(tmp_path: Path, script: str) -> None:
    group = spawn(tmp_path, script, b"x" * 1024 * 1024)
    assert group.wait(PATIENCE_S) == ExitStatus(0, None)
    assert (tmp_path / "stdout").read_text().strip() in ("1048576", "")


def test_missing_command_or_directory_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no-such-command"):
        ProcessGroup.spawn(["no-such-command"], tmp_path, ENVIRONMENT, b"", tmp_path)
    with pytest.raises(ConfigurationError, match="nowhere"):
        ProcessGroup.spawn(["true"], tmp_path / "nowhere", ENVIRONMENT, b"", tmp_path)


def test_leftover_is_killed_by_identity(tmp_path: Path) -> None:
    group = spawn(tmp_path, STUBBORN)
    wait_until_written(tmp_path / "stdout")
    descendants = wait_for_descendants(group, 3)
    assert end_leftover(group.identity)
    assert group.wait(PATIENCE_S) == ExitStatus(None, signal.SIGKILL)
    assert running_processes(descendants) == []
    assert not end_leftover(group.identity)


def test_children_of_ended_leader_are_killed(tmp_path: Path) -> None:
    group, leftover = spawn_and_kill_shim(tmp_path, "sleep 1000 & echo $!; wait")
    assert end_leftover(group.identity)
    assert has_ended(leftover)


def test_escaped_process_is_found_by_marks(tmp_path: Path) -> None:
    marks = {"MARK_OF_A_RUN": str(tmp_path)}
    script = "(setsid sh -c 'echo $$; exec sleep 1000' &) ; sleep 1000"
    group = ProcessGroup.spawn(["sh", "-c", script], tmp_path, ENVIRONMENT | marks, b"", tmp_path, marks)
    escaped = psutil.Process(int(wait_until_written(tmp_path / "stdout")))
    os.killpg(group.identity.pid, signal.SIGKILL)
    assert group.wait(PATIENCE_S) == ExitStatus(None, None)
    assert not has_ended(escaped)
    assert not end_leftover(None, {**marks, "MARK_OF_ANOTHER": ""})
    group.stop(PATIENCE_S)
    assert has_ended(escaped)


def test_reused_pid_is_not_killed(tmp_path: Path) -> None:
    unrelated = spawn(tmp_path, "sleep 1000")
    boot, _, _ = unrelated.identity.started.rpartition(":")
    for started in (f"{boot}:1", "another-boot:1"):
        earlier = ProcessIdentity(unrelated.identity.pid, started)
        assert not is_alive(earlier)
        assert not end_leftover(earlier)
    assert is_alive(unrelated.identity)
    unrelated.stop(PATIENCE_S)
    assert not is_alive(unrelated.identity)


def test_group_of_earlier_boot_is_not_killed(tmp_path: Path) -> None:
    unrelated, _ = spawn_and_kill_shim(tmp_path, "sleep 1000 & echo $!; wait")
    # No process has this pid now, but a process group still has it.
    assert not end_leftover(ProcessIdentity(unrelated.identity.pid, "another-boot:1"))
    assert end_leftover(unrelated.identity)


def test_process_without_permission_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    identity = identity_of(os.getpid())
    assert identity is not None
    monkeypatch.setattr(os, "kill", refuse)
    assert is_alive(identity)
    assert not is_alive(ProcessIdentity(identity.pid, "another-boot:1"))


def test_zombie_is_not_alive() -> None:
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {})
    identity = identity_of(pid)
    assert identity is not None
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(identity)
    os.waitpid(pid, 0)
    assert identity_of(pid) != identity
