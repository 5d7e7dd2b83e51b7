import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from greenroom.cli.child import Child, how
from greenroom.clock import SystemClock
from greenroom.domain.reliability import Reliability
from tests.waiting import PATIENCE_S, wait_until

LIMITS = Reliability(house_pause_s_min=0.01, house_pause_s_max=0.02)


class Stage:
    """A child process, and what is reported about it."""

    def __init__(self, *scripts: str, failures: int = 0) -> None:
        self.scripts = list(scripts)
        self.failures = failures
        self.said: list[str] = []
        self.hopeless: list[int] = []
        self.changed = threading.Condition()
        self.leash, self.held = os.pipe()
        self.child = Child(
            "server",
            self.command,
            os.environ,
            self.leash,
            LIMITS,
            SystemClock(),
            self.tell,
            self.give_up,
            hopeless_at_first=frozenset({78}),
            stays_down={0: "was stopped; start it", 4: "gave way"},
        )
        self.child.start()

    def command(self) -> list[str]:
        if self.failures > 0:
            self.failures -= 1
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        return [sys.executable, "-c", script, str(self.leash)]

    def tell(self, text: str) -> None:
        with self.changed:
            self.said.append(text)
            self.changed.notify_all()

    def give_up(self, code: int) -> None:
        with self.changed:
            self.hopeless.append(code)
            self.changed.notify_all()

    def wait_for(self, text: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: any(text in line for line in self.said), PATIENCE_S), self.said

    def wait_until_hopeless(self) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: bool(self.hopeless), PATIENCE_S), self.said


@pytest.fixture
def stages() -> Iterator[list[Stage]]:
    made: list[Stage] = []
    yield made
    for stage in made:
        stage.child.stop(PATIENCE_S)
        os.close(stage.leash)
        os.close(stage.held)


def test_whoever_is_killed_runs_again(stages: list[Stage]) -> None:
    stages.append(stage := Stage("import os; os.kill(os.getpid(), 9)", "import signal; signal.pause()"))
    stage.wait_for("killed by SIGKILL; restarting in 0.01 s")
    stage.wait_for("server restarted as process")
    assert stage.hopeless == []


def test_what_cannot_run_at_all_is_not_tried_again(stages: list[Stage]) -> None:
    stages.append(stage := Stage("raise SystemExit(78)"))
    stage.wait_until_hopeless()
    assert stage.hopeless == [78]


def test_what_ran_once_is_tried_again_until_it_means_to_stay_down(stages: list[Stage]) -> None:
    stages.append(stage := Stage("raise SystemExit(1)", "raise SystemExit(78)", "raise SystemExit(4)"))
    stage.wait_for("gave way")
    assert stage.hopeless == []
    assert sum("restarted" in line for line in stage.said) == 2


def test_a_stop_ends_who_does_not_want_to(stages: list[Stage]) -> None:
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
    stages.append(stage := Stage(ignore))
    pid = wait_until(lambda: stage.child.pid, "the child runs")
    stage.child.stop(0.5)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not any("restarted" in line for line in stage.said)


def test_a_child_notices_the_end_of_who_started_it(stages: list[Stage]) -> None:
    reading = "import os, sys\nwhile os.read(int(sys.argv[1]), 1): pass\nraise SystemExit(78)"
    stage = Stage(reading)
    stages.append(stage)
    os.close(os.dup(stage.held))  # closing a copy does not close the pipe
    assert stage.hopeless == []
    os.dup2(stage.leash, stage.held)  # the last write end is closed
    stage.wait_until_hopeless()


def test_an_end_is_said_in_words() -> None:
    assert how(0) == "exit code 0"
    assert how(-signal.SIGTERM) == "killed by SIGTERM"
    assert how(-250) == "killed by signal 250"


def test_a_computer_that_can_start_nothing_for_a_moment_does_not_end_the_keeper() -> None:
    stage = Stage("import time; print('runs', flush=True); time.sleep(1000)", failures=2)
    stage.wait_for("cannot be started: ")
    with stage.changed:
        assert stage.changed.wait_for(lambda: len(stage.said) == 2, PATIENCE_S), stage.said
    wait_until(lambda: stage.child.pid, "the child runs")
    stage.child.stop(PATIENCE_S)


def test_whoever_was_stopped_on_purpose_stays_so() -> None:
    stage = Stage("raise SystemExit(0)")
    stage.wait_for("was stopped; start it")
    stage.child.stop(PATIENCE_S)
    assert not any("restarted" in line for line in stage.said)
    assert stage.hopeless == []
