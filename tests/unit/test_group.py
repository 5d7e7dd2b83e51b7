import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from greenroom.domain.errors import ConfigurationError
from greenroom.process.group import Exit, Group
from greenroom.process.identity import Identity, identity_of, is_alive
from greenroom.process.members import kill_leftover
from tests.unit.living import has_ended, survivors, wait_until_written
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

ENVIRONMENT = {"PATH": os.environ["PATH"]}
STUBBORN = "trap '' TERM; (trap '' TERM; sleep 1000) & setsid sleep 1000 & echo $! $$; wait"


def spawn(tmp_path: Path, script: str, stdin: bytes = b"") -> Group:
    return Group.spawn(["sh", "-c", script], tmp_path, ENVIRONMENT, stdin, tmp_path)


def living_below(group: Group) -> list[psutil.Process]:
    return psutil.Process(group.identity.pid).children(recursive=True)


def wait_until_below(group: Group, count: int) -> list[psutil.Process]:
    wait_until(lambda: len(living_below(group)) >= count, f"{count} processes run")
    return living_below(group)


def test_a_command_reads_its_input_and_its_output_is_in_files(tmp_path: Path) -> None:
    group = spawn(tmp_path, "cat; echo oops >&2; exit 3", b"hello")
    assert group.wait(PATIENCE_S) == Exit(3, None)
    assert (tmp_path / "stdout").read_bytes() == b"hello"
    assert (tmp_path / "stderr").read_bytes() == b"oops\n"
    assert (tmp_path / "stdout").stat().st_mode & 0o777 == 0o600


def test_a_signal_is_told_from_a_code(tmp_path: Path) -> None:
    ended = spawn(tmp_path, "kill -9 $$").wait(PATIENCE_S)
    assert ended == Exit(None, signal.SIGKILL)
    assert str(ended) == "ended by SIGKILL"
    assert str(Exit(3, None)) == "exit code 3"


def test_a_running_command_has_no_exit_yet(tmp_path: Path) -> None:
    group = spawn(tmp_path, "sleep 1000")
    assert group.poll() is None
    assert group.wait(0.01) is None
    assert group.stop(PATIENCE_S) == Exit(None, signal.SIGTERM)
    assert group.poll() == Exit(None, signal.SIGTERM)


def test_nothing_survives_a_stop_of_a_group_that_ignores_term(tmp_path: Path) -> None:
    group = spawn(tmp_path, STUBBORN)
    wait_until_written(tmp_path / "stdout")
    below = wait_until_below(
        group, 3
    )  # the shell, a subshell that ignores TERM, and a grandchild in a session of its own
    assert group.stop(0.2) == Exit(None, signal.SIGKILL)
    assert survivors(below) == []


def test_a_stop_after_the_end_takes_whoever_was_left_behind(tmp_path: Path) -> None:
    group = spawn(tmp_path, "sleep 1000 & echo $!")
    left = psutil.Process(int(wait_until_written(tmp_path / "stdout")))
    assert group.wait(PATIENCE_S) == Exit(0, None)
    assert not has_ended(left)
    assert group.stop(PATIENCE_S) == Exit(0, None)
    assert has_ended(left)


def test_stopping_what_does_not_run_is_success(tmp_path: Path) -> None:
    group = spawn(tmp_path, "exit 0")
    assert group.wait(PATIENCE_S) == Exit(0, None)
    assert group.stop(PATIENCE_S) == Exit(0, None)
    assert group.stop(PATIENCE_S) == Exit(0, None)


@pytest.mark.parametrize("script", ["sleep 0.2; wc -c", "exec sleep 0.2"], ids=["slow reader", "never reads"])
def test_a_mebibyte_of_input_blocks_nobody(tmp_path: Path, script: str) -> None:
    group = spawn(tmp_path, script, b"x" * 1024 * 1024)
    assert group.wait(PATIENCE_S) == Exit(0, None)
    assert (tmp_path / "stdout").read_text().strip() in ("1048576", "")


def test_a_command_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no-such-command"):
        Group.spawn(["no-such-command"], tmp_path, ENVIRONMENT, b"", tmp_path)
    with pytest.raises(ConfigurationError, match="nowhere"):
        Group.spawn(["true"], tmp_path / "nowhere", ENVIRONMENT, b"", tmp_path)


def test_a_leftover_is_ended_by_its_identity(tmp_path: Path) -> None:
    group = spawn(tmp_path, STUBBORN)
    wait_until_written(tmp_path / "stdout")
    below = wait_until_below(group, 3)
    assert kill_leftover(group.identity)
    assert group.wait(PATIENCE_S) == Exit(None, signal.SIGKILL)
    assert survivors(below) == []
    assert not kill_leftover(group.identity)


def test_children_of_a_dead_leader_are_ended_too(tmp_path: Path) -> None:
    group = spawn(tmp_path, "sleep 1000 & echo $!")
    left = psutil.Process(int(wait_until_written(tmp_path / "stdout")))
    assert group.wait(PATIENCE_S) == Exit(0, None)
    assert kill_leftover(group.identity)
    assert has_ended(left)


def test_who_left_group_and_session_is_known_by_the_marks_it_was_started_with(tmp_path: Path) -> None:
    marks = {"MARK_OF_A_RUN": str(tmp_path)}
    script = "(setsid sh -c 'echo $$; exec sleep 1000' &) ; until [ -s stdout ]; do sleep 0.01; done"
    group = Group.spawn(["sh", "-c", script], tmp_path, ENVIRONMENT | marks, b"", tmp_path, marks)
    daemon = psutil.Process(int(wait_until_written(tmp_path / "stdout")))
    assert group.wait(PATIENCE_S) == Exit(0, None)
    assert not has_ended(daemon)
    assert not kill_leftover(None, {**marks, "MARK_OF_ANOTHER": ""})
    group.stop(PATIENCE_S)
    assert has_ended(daemon)


def test_a_process_that_got_the_number_later_is_not_touched(tmp_path: Path) -> None:
    stranger = spawn(tmp_path, "sleep 1000")
    boot, _, _ = stranger.identity.started.rpartition(":")
    for started in (f"{boot}:1", "another-boot:1"):
        earlier = Identity(stranger.identity.pid, started)
        assert not is_alive(earlier)
        assert not kill_leftover(earlier)
    assert is_alive(stranger.identity)
    stranger.stop(PATIENCE_S)
    assert not is_alive(stranger.identity)


def test_a_group_of_an_earlier_boot_is_gone_even_if_its_number_is_a_group_again(tmp_path: Path) -> None:
    stranger = spawn(tmp_path, "sleep 1000 & echo $!")
    wait_until_written(tmp_path / "stdout")
    stranger.wait(PATIENCE_S)  # no process has this pid now, but a process group still has it
    assert not kill_leftover(Identity(stranger.identity.pid, "another-boot:1"))
    assert kill_leftover(stranger.identity)


def test_a_process_that_we_may_not_signal_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    ours = identity_of(os.getpid())
    assert ours is not None
    monkeypatch.setattr(os, "kill", refuse)
    assert is_alive(ours)
    assert not is_alive(Identity(ours.pid, "another-boot:1"))


def test_an_ended_process_is_not_alive_while_it_waits_to_be_collected() -> None:
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {})
    identity = identity_of(pid)
    assert identity is not None
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(identity)
    os.waitpid(pid, 0)
    assert identity_of(pid) != identity
