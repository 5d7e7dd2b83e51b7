"""An agent without a task timeout may work for days without output."""

import threading
from pathlib import Path

from greenroom.client.task_run import STEP_S
from greenroom.clock import SystemClock
from greenroom.process.identity import is_alive
from greenroom.process.run_folder import read_command
from greenroom.testing import MovedClock
from greenroom.wire.replies import TaskRef
from tests.unit.fake_server import FakeServer
from tests.unit.one_role_daemon import OneRoleDaemon
from tests.unit.test_daemon_resident import RESIDENT_SCRIPT, OneResidentDaemon

QUIET_S = (45 * 60.0, 12 * 3600.0, 7 * 86_400.0)


def move_clock(clock: MovedClock) -> None:
    """Move the clock, and give the threads that watch it time to read it."""
    for quiet_s in QUIET_S:
        clock.advance(quiet_s)
        threading.Event().wait(2 * STEP_S)


def test_silent_run_is_not_stopped(tmp_path: Path) -> None:
    clock, gate = MovedClock(wall=SystemClock().wall()), tmp_path / "gate"
    server = FakeServer("task_1")
    daemon = OneRoleDaemon(tmp_path, server, f"until [ -e '{gate}' ]; do sleep 0.02; done; echo at last", clock=clock)
    daemon.wait_for_reports(1)
    move_clock(clock)
    gate.touch()
    bodies = server.wait_for("handoff")
    daemon.stop()
    assert [body["text"] for body in bodies] == ["at last\n"]
    assert daemon.report_fields()[1] == ("exited", True, 0, None)


def test_silent_resident_is_not_stopped(tmp_path: Path) -> None:
    clock = MovedClock(wall=SystemClock().wall())
    daemon = OneResidentDaemon(tmp_path, FakeServer(), RESIDENT_SCRIPT, clock=clock)
    daemon.wait_for_reports(1)
    daemon.runner.compare_task(TaskRef("task_1", 1), clock.boottime())
    command = read_command(daemon.folder)
    assert command is not None
    move_clock(clock)
    assert is_alive(command), "the command was ended without a reason"
    assert daemon.kinds() == ["started"]
    daemon.stop()
