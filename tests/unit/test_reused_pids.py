"""A reused pid is not taken for the process that had it before. A PID namespace of its own forces the reuse."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.process

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]

BEGIN = """
import os, subprocess, sys, threading
from pathlib import Path
from greenroom.process.process_group import ExitStatus, ProcessGroup
from greenroom.process.identity import is_alive
from greenroom.process.process_tree import end_leftover

folder = Path(sys.argv[1])
marks = {"MARK_OF_A_RUN": "the first"}

def spawn(script):
    env = {"PATH": os.environ["PATH"], **marks}
    return ProcessGroup.spawn(["sh", "-c", script], folder, env, b"", folder / "run", marks)

def unrelated(number, script):
    "A process that gets this pid, and leads a process group with the same number."
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(number - 1))
    command = subprocess.Popen(["sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE, text=True)
    assert command.pid == number, (command.pid, number)
    return command

own = spawn("exit 3")
assert own.wait() == ExitStatus(3, None)
# The kernel records a start in ticks of 10 ms, and in practice no pid is reused within one tick.
threading.Event().wait(0.05)
"""
LEADER = """
other = unrelated(own.identity.pid, "exec sleep 1000")
assert not is_alive(own.identity)
assert not end_leftover(own.identity)
assert not end_leftover(own.identity, marks)
own.stop(0.2)
adopted = ProcessGroup.adopt(folder / "run", marks)
assert adopted.wait() == ExitStatus(3, None)
adopted.stop(0.2)
assert other.poll() is None
"""
GROUP = """
other = unrelated(own.identity.pid, "sleep 1000 & echo $!")
left = int(other.stdout.readline())
other.wait()
assert os.getpgid(left) == own.identity.pid, "no process has this pid now, but an unrelated process group has it"
assert not end_leftover(own.identity, marks)
adopted = ProcessGroup.adopt(folder / "run", marks)
assert adopted.wait() == ExitStatus(3, None)
adopted.stop(0.2)
os.kill(left, 0)
assert os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is None, "no process has ended"
"""


@pytest.fixture(autouse=True)
def _may_make_namespaces() -> None:
    attempt = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True)
    if attempt.returncode != 0:
        pytest.skip(f"no PID namespace can be made here: {attempt.stderr.strip()}")


@pytest.mark.parametrize("script", [LEADER, GROUP], ids=["unrelated process", "group of an unrelated process"])
def test_process_with_reused_pid_gets_no_signal(tmp_path: Path, script: str) -> None:
    command = [*UNSHARE, sys.executable, "-c", BEGIN + script, str(tmp_path)]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (0, "") == (completed.returncode, completed.stderr)
