import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from greenroom.cli.child_process import ChildProcess, describe_exit
from greenroom.clock import SystemClock
from greenroom.domain.limits import Limits
from tests.waiting import PATIENCE_S, wait_until

LIMITS = Limits(child_restart_delay_s_min=0.01, child_restart_delay_s_max=0.02)


class SupervisedChild:
    """A child process, and what is reported about it."""

    def __init__(self, *scripts: str, failures: int = 0) -> None:
        self.scripts = list(scripts)
        self.failures = failures
        self.reports: list[str] = []
        self.permanent_codes: list[int] = []
        self.changed = threading.Condition()
        self.read_fd, self.write_fd = os.pipe()
        self.child = ChildProcess(
            "server",
            self.command,
            os.environ,
            self.read_fd,
            LIMITS,
            SystemClock(),
            self.report,
            self.give_up,
            permanent_codes=frozenset({78}),
            final_codes={0: "was stopped; start it", 4: "gave way"},
        )
        self.child.start()

    def command(self) -> list[str]:
        if self.failures > 0:
            self.failures -= 1
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        return [sys.executable, "-c", script, str(self.read_fd)]

    def report(self, text: str) -> None:
        with self.changed:
            self.reports.append(text)
            self.changed.notify_all()

    def give_up(self, code: int) -> None:
        with self.changed:
            self.permanent_codes.append(code)
            self.changed.notify_all()

    def wait_for(self, text: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: any(text in line for line in self.reports), PATIENCE_S), self.reports

    def wait_for_permanent_failure(self) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: bool(self.permanent_codes), PATIENCE_S), self.reports


@pytest.fixture
def supervised_children() -> Iterator[list[SupervisedChild]]:
    children: list[SupervisedChild] = []
    yield children
    for supervised in children:
        supervised.child.stop(PATIENCE_S)
        os.close(supervised.read_fd)
        os.close(supervised.write_fd)


def test_killed_child_is_restarted(supervised_children: list[SupervisedChild]) -> None:
    supervised_children.append(
        supervised := SupervisedChild("import os; os.kill(os.getpid(), 9)", "import signal; signal.pause()")
    )
    supervised.wait_for("killed by SIGKILL; restarting in 0.01 s")
    supervised.wait_for("server restarted as process")
    assert supervised.permanent_codes == []


def test_pid_is_known_after_start(supervised_children: list[SupervisedChild], monkeypatch: pytest.MonkeyPatch) -> None:
    """`up` prints the pid right after the start; it once printed `kill -9 None`."""
    command = SupervisedChild.command

    def slow_command(child: SupervisedChild) -> list[str]:
        threading.Event().wait(0.3)
        return command(child)

    monkeypatch.setattr(SupervisedChild, "command", slow_command)
    child = SupervisedChild("input()")
    supervised_children.append(child)

    assert child.child.pid is not None


def test_permanent_failure_is_not_restarted(supervised_children: list[SupervisedChild]) -> None:
    supervised_children.append(supervised := SupervisedChild("raise SystemExit(78)"))
    supervised.wait_for_permanent_failure()
    assert supervised.permanent_codes == [78]


def test_child_that_ran_is_restarted_until_final_code(supervised_children: list[SupervisedChild]) -> None:
    supervised_children.append(
        supervised := SupervisedChild("raise SystemExit(1)", "raise SystemExit(78)", "raise SystemExit(4)")
    )
    supervised.wait_for("gave way")
    assert supervised.permanent_codes == []
    assert sum("restarted" in line for line in supervised.reports) == 2


def test_stop_kills_child_that_ignores_term(supervised_children: list[SupervisedChild]) -> None:
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
    supervised_children.append(supervised := SupervisedChild(script))
    pid = wait_until(lambda: supervised.child.pid, "the child runs")
    supervised.child.stop(0.5)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not any("restarted" in line for line in supervised.reports)


def test_child_sees_end_of_parent(supervised_children: list[SupervisedChild]) -> None:
    script = "import os, sys\nwhile os.read(int(sys.argv[1]), 1): pass\nraise SystemExit(78)"
    supervised = SupervisedChild(script)
    supervised_children.append(supervised)
    os.close(os.dup(supervised.write_fd))  # closing a copy does not close the pipe
    assert supervised.permanent_codes == []
    os.dup2(supervised.read_fd, supervised.write_fd)  # the last write end is closed
    supervised.wait_for_permanent_failure()


def test_exit_descriptions() -> None:
    assert describe_exit(0) == "exit code 0"
    assert describe_exit(-signal.SIGTERM) == "killed by SIGTERM"
    assert describe_exit(-250) == "killed by signal 250"


def test_failed_start_is_retried() -> None:
    supervised = SupervisedChild("import time; print('runs', flush=True); time.sleep(1000)", failures=2)
    supervised.wait_for("cannot be started: ")
    with supervised.changed:
        assert supervised.changed.wait_for(lambda: len(supervised.reports) == 2, PATIENCE_S), supervised.reports
    wait_until(lambda: supervised.child.pid, "the child runs")
    supervised.child.stop(PATIENCE_S)


def test_intended_stop_is_not_restarted() -> None:
    supervised = SupervisedChild("raise SystemExit(0)")
    supervised.wait_for("was stopped; start it")
    supervised.child.stop(PATIENCE_S)
    assert not any("restarted" in line for line in supervised.reports)
    assert supervised.permanent_codes == []
