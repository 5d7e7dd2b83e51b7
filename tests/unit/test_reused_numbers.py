"""A reused pid is not taken for the process that had it before. A PID namespace of its own forces the reuse."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.process

IN_NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]

BEGIN = """
import os, subprocess, sys, threading
from pathlib import Path
from greenroom.process.group import Exit, Group
from greenroom.process.identity import is_alive
from greenroom.process.members import kill_leftover

folder = Path(sys.argv[1])
marks = {"MARK_OF_A_RUN": "the first"}

def spawn(script):
    return Group.spawn(["sh", "-c", script], folder, {"PATH": os.environ["PATH"], **marks}, b"", folder / "run", marks)

def stranger(number, script):
    "A process that gets this pid, and leads a process group with the same number."
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(number - 1))
    command = subprocess.Popen(["sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE, text=True)
    assert command.pid == number, (command.pid, number)
    return command

ours = spawn("exit 3")
assert ours.wait() == Exit(3, None)
# The kernel records a start in ticks of 10 ms, and in practice no pid is reused within one tick.
threading.Event().wait(0.05)
"""
LEADER = """
other = stranger(ours.identity.pid, "exec sleep 1000")
assert not is_alive(ours.identity)
assert not kill_leftover(ours.identity)
assert not kill_leftover(ours.identity, marks)
ours.stop(0.2)
adopted = Group.adopt(folder / "run", marks)
assert adopted.wait() == Exit(3, None)
adopted.stop(0.2)
assert other.poll() is None
"""
LEFT_BEHIND = """
other = stranger(ours.identity.pid, "sleep 1000 & echo $!")
left = int(other.stdout.readline())
other.wait()
assert os.getpgid(left) == ours.identity.pid, "no process has this pid now, but an unrelated process group has it"
assert not kill_leftover(ours.identity, marks)
adopted = Group.adopt(folder / "run", marks)
assert adopted.wait() == Exit(3, None)
adopted.stop(0.2)
os.kill(left, 0)
assert os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is None, "no process has ended"
"""


@pytest.fixture(autouse=True)
def _may_make_namespaces() -> None:
    tried = subprocess.run([*IN_NAMESPACE, "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"no PID namespace can be made here: {tried.stderr.strip()}")


@pytest.mark.parametrize("story", [LEADER, LEFT_BEHIND], ids=["unrelated process", "left by an unrelated process"])
def test_nobody_who_got_the_number_later_is_signalled(tmp_path: Path, story: str) -> None:
    told = [*IN_NAMESPACE, sys.executable, "-c", BEGIN + story, str(tmp_path)]
    done = subprocess.run(told, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (0, "") == (done.returncode, done.stderr)
