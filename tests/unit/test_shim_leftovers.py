"""What a command leaves when it ends, or when it is stopped, is ended too, in whatever way it left the command."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from greenroom.process.process_group import ExitStatus, ProcessGroup
from tests.unit.process_checks import has_ended, wait_until_written
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

ENVIRONMENT = {"PATH": os.environ["PATH"]}
ESCAPED = "(env -i setsid sh -c '{}echo $$; {}' &); until [ -s run/stdout ]; do sleep 0.01; done; "
"""A process that leaves the group, the session, the environment and its parent, and writes its number."""
SLEEP = "exec sleep 1000"


def spawn_shell(folder: Path, script: str, grace_s: float = PATIENCE_S) -> ProcessGroup:
    return ProcessGroup.spawn(["sh", "-c", script], folder, ENVIRONMENT, b"", folder / "run", grace_s=grace_s)


def read_words(folder: Path) -> list[str]:
    return (folder / "run" / "stdout").read_text().split()


def printed_pid(folder: Path) -> int:
    """The number of the process that was left."""
    return int(read_words(folder)[0])


@pytest.mark.parametrize(
    "script",
    ["sleep 1000 & echo $!", "env -i sleep 1000 & echo $!", ESCAPED.format("", SLEEP)],
    ids=["in the group", "without marks", "escaped"],
)
@pytest.mark.parametrize("ending", ["", "exit 3", "kill -9 $$"])
def test_end_of_command_ends_what_it_left(tmp_path: Path, script: str, ending: str) -> None:
    group = spawn_shell(tmp_path, script + "\n" + ending)
    ended = group.wait(PATIENCE_S)
    assert ended == {"": ExitStatus(0, None), "exit 3": ExitStatus(3, None)}.get(ending, ExitStatus(None, 9))
    assert not psutil.pid_exists(printed_pid(tmp_path))


def test_escaped_leftover_has_grace_time(tmp_path: Path) -> None:
    trap = 'exec 2>/dev/null; trap "touch tidy; exit 0" TERM; '
    script = ESCAPED.format(trap, "while :; do sleep 0.01; done") + "exit 3"
    group = spawn_shell(tmp_path, script)
    assert group.wait(PATIENCE_S) == ExitStatus(3, None)
    assert (tmp_path / "tidy").exists()


def test_escaped_leftover_is_killed_after_grace_time(tmp_path: Path) -> None:
    script = ESCAPED.format('trap "" TERM; ', SLEEP) + "exit 3"
    group = spawn_shell(tmp_path, script, grace_s=0.1)
    assert group.wait(PATIENCE_S) == ExitStatus(3, None)
    assert not psutil.pid_exists(printed_pid(tmp_path))


def test_end_is_recorded_before_leftovers_end(tmp_path: Path) -> None:
    script = ESCAPED.format('trap "" TERM; ', SLEEP) + "exit 3"
    group = spawn_shell(tmp_path, script, grace_s=1000.0)
    wait_until(group.has_command_ended, "the end is recorded")
    assert group.wait(0.1) is None
    assert group.stop(0) == ExitStatus(3, None)
    assert not psutil.pid_exists(printed_pid(tmp_path))


def test_stop_ends_escaped_process(tmp_path: Path) -> None:
    group = spawn_shell(tmp_path, ESCAPED.format("", SLEEP) + "echo ready; sleep 1000")
    wait_until_written(tmp_path / "run" / "stdout", "ready")
    escaped = psutil.Process(printed_pid(tmp_path))
    assert group.stop(PATIENCE_S) == ExitStatus(None, signal.SIGTERM)
    assert has_ended(escaped)


def test_ended_orphans_are_collected(tmp_path: Path) -> None:
    script = "for i in 1 2 3; do (setsid sh -c 'echo ended' &); done; " + "until [ -e go ]; do sleep 0.01; done"
    group = spawn_shell(tmp_path, script)
    wait_until(lambda: read_words(tmp_path).count("ended") == 3, "three orphans have run")
    leader = psutil.Process(group.identity.pid)
    wait_until(lambda: all(not has_ended(child) for child in leader.children()), "no zombie is left")
    (tmp_path / "go").touch()
    assert group.wait(PATIENCE_S) == ExitStatus(0, None)
