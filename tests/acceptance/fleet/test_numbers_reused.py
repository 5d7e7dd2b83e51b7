"""A run's process number goes to somebody innocent while no daemon looks: they live, and the task is run again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.acceptance.fleet.conftest import Build
from tests.acceptance.processes import children_of
from tests.waiting import stays, wait_until

pytestmark = pytest.mark.process

INIT = (
    "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
)
"""The first process of a namespace buries whoever has lost their parent; else no number would ever be free again."""
SEIZE = """
import pathlib, subprocess, sys
wanted, nowhere = int(sys.argv[1]), subprocess.DEVNULL
pathlib.Path("/proc/sys/kernel/ns_last_pid").write_text(str(wanted - 1))
innocent = subprocess.Popen(["sleep", "infinity"], stdout=nowhere, stderr=nowhere, start_new_session=True)
if innocent.pid != wanted:
    innocent.kill(), innocent.wait()
"""
"""Somebody else may have been quicker: then it is tried again."""
LOOK_S = 3.0
"""For so long at least it is looked that the innocent one is let live."""


class Warren:
    """A process namespace: whoever lives there has numbers of its own."""

    def __init__(self) -> None:
        words = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-ISc", INIT]
        self._outer = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self._outer.stdout is not None
        if self._outer.stdout.readline() != "up\n":
            self.close()
            pytest.skip("no process namespace can be made here")
        self.enter = ("nsenter", f"--target={children_of(self._outer.pid)[0]}", "--pid", "--mount", "--")

    def run(self, *words: str) -> str:
        """Run something inside; what it prints."""
        return subprocess.run([*self.enter, *words], capture_output=True, text=True, check=True).stdout.strip()

    def lives(self, pid: int) -> str:
        """The name of the process that has that number inside, with its state; nothing where none has."""
        state = f"import pathlib; p = pathlib.Path('/proc/{pid}/stat'); print(p.read_text()[:40] if p.exists() else '')"
        return self.run(sys.executable, "-ISc", state)

    def seize(self, pid: int) -> bool:
        """Have an innocent process get that number inside; whether it has it."""
        self.run(sys.executable, "-ISc", SEIZE, str(pid))
        return "(sleep)" in self.lives(pid)

    def close(self) -> None:
        self._outer.kill()
        self._outer.wait()
        if self._outer.stdout is not None:
            self._outer.stdout.close()


@pytest.fixture
def warren() -> Iterator[Warren]:
    warren = Warren()
    yield warren
    warren.close()


def test_an_innocent_process_lives(warren: Warren, build: Build) -> None:
    fleet = build()
    machine = fleet.machines[0]
    machine.enter = warren.enter
    fleet.open(agents=2)
    run, _ = fleet.begin_all("until:done")
    leader = int(warren.run(sys.executable, "-ISc", f"import os; print(os.getsid({run.pid}))"))

    machine.kill()
    for pid in {leader, run.pid}:
        with suppress(subprocess.CalledProcessError):
            warren.run("kill", "-9", str(pid))
    # No number is given out again while its group or session lasts, so both have to be gone.
    wait_until(lambda: not warren.lives(leader) and not warren.lives(run.pid), "nothing of the run is left")
    wait_until(lambda: warren.seize(leader), "the number is somebody else's")

    machine.start()
    newer = fleet.diaries.wait_for(run.task, 2)
    assert machine.name == newer.machine
    stays(lambda: "(sleep)" in warren.lives(leader), "the innocent process lives", LOOK_S)
    accepted = fleet.finish("done")
    assert [[2], [1]] == [accepted[role] for role in fleet.roles]
    fleet.check()
