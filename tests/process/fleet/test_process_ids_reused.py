"""A run's process id is reused while no daemon runs: the unrelated process is not killed, and the task runs again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.process.fleet.conftest import BuildFleet
from tests.process.processes import children_of
from tests.waiting import assert_stays_true, wait_until

pytestmark = pytest.mark.process

INIT = (
    "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
)
"""The first process of a namespace has to reap orphans; otherwise no process id would become free."""
TAKE_PROCESS_ID = """
import pathlib, subprocess, sys
wanted, nowhere = int(sys.argv[1]), subprocess.DEVNULL
pathlib.Path("/proc/sys/kernel/ns_last_pid").write_text(str(wanted - 1))
unrelated = subprocess.Popen(["sleep", "infinity"], stdout=nowhere, stderr=nowhere, start_new_session=True)
if unrelated.pid != wanted:
    unrelated.kill(), unrelated.wait()
"""
"""Another process may get the id first; then the test tries again."""
WATCH_S = 3.0
"""For so long the test watches that the unrelated process is not killed, in seconds."""


class PidNamespace:
    """A process namespace, which has process ids of its own."""

    def __init__(self) -> None:
        arguments = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-ISc", INIT]
        self._outer = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        assert self._outer.stdout is not None
        if self._outer.stdout.readline() != "up\n":
            self.close()
            pytest.skip("process namespaces are not available here")
        self.enter = ("nsenter", f"--target={children_of(self._outer.pid)[0]}", "--pid", "--mount", "--")

    def run(self, *arguments: str) -> str:
        """Run a command inside; return what it prints."""
        return subprocess.run([*self.enter, *arguments], capture_output=True, text=True, check=True).stdout.strip()

    def stat_of(self, pid: int) -> str:
        """The beginning of /proc/PID/stat inside (id, name, state); empty if there is no such process."""
        state = f"import pathlib; p = pathlib.Path('/proc/{pid}/stat'); print(p.read_text()[:40] if p.exists() else '')"
        return self.run(sys.executable, "-ISc", state)

    def take_process_id(self, pid: int) -> bool:
        """Try to start an unrelated process with that id inside; return whether it has it."""
        self.run(sys.executable, "-ISc", TAKE_PROCESS_ID, str(pid))
        return "(sleep)" in self.stat_of(pid)

    def close(self) -> None:
        self._outer.kill()
        self._outer.wait()
        if self._outer.stdout is not None:
            self._outer.stdout.close()


@pytest.fixture
def namespace() -> Iterator[PidNamespace]:
    namespace = PidNamespace()
    yield namespace
    namespace.close()


def test_unrelated_process_is_not_killed(namespace: PidNamespace, build_fleet: BuildFleet) -> None:
    fleet = build_fleet()
    machine = fleet.machines[0]
    machine.enter = namespace.enter
    fleet.start(agents=2)
    run, _ = fleet.begin_all("until:done")
    leader = int(namespace.run(sys.executable, "-ISc", f"import os; print(os.getsid({run.pid}))"))

    machine.kill()
    for pid in {leader, run.pid}:
        with suppress(subprocess.CalledProcessError):
            namespace.run("kill", "-9", str(pid))
    # A process id is not reused while its group or session exists, so both have to end.
    wait_until(lambda: not namespace.stat_of(leader) and not namespace.stat_of(run.pid), "nothing of the run is left")
    wait_until(lambda: namespace.take_process_id(leader), "the process id is reused")

    machine.start()
    newer = fleet.diaries.wait_for(run.task, 2)
    assert machine.name == newer.machine
    assert_stays_true(lambda: "(sleep)" in namespace.stat_of(leader), "the unrelated process is not killed", WATCH_S)
    accepted = fleet.finish("done")
    assert [[2], [1]] == [accepted[role] for role in fleet.roles]
    fleet.check()
