"""An agent without a task timeout may work for days without output."""

import threading
from pathlib import Path

from greenroom.client.errand import STEP_S
from greenroom.clock import MovedClock, SystemClock
from greenroom.process.identity import is_alive
from greenroom.process.journal import command_in
from greenroom.wire.replies import TaskRef
from tests.unit.stage import Stage
from tests.unit.stand_in import Server
from tests.unit.test_daemon_resident import STAYS, Residence

QUIET_S = (45 * 60.0, 12 * 3600.0, 7 * 86_400.0)


def pass_by(clock: MovedClock) -> None:
    """Move the clock, and give the threads that watch it time to read it."""
    for quiet_s in QUIET_S:
        clock.move(quiet_s)
        threading.Event().wait(2 * STEP_S)


def test_a_run_may_be_quiet_for_days(tmp_path: Path) -> None:
    clock, gate = MovedClock(wall=SystemClock().wall()), tmp_path / "gate"
    server = Server("task_1")
    stage = Stage(tmp_path, server, f"until [ -e '{gate}' ]; do sleep 0.02; done; echo at last", clock=clock)
    stage.wait_for_facts(1)
    pass_by(clock)
    gate.touch()
    handed = server.wait_for("handoff")
    stage.end()
    assert [body["text"] for body in handed] == ["at last\n"]
    assert stage.told()[1] == ("exited", True, 0, None)


def test_so_may_a_resident_with_a_task_in_hand(tmp_path: Path) -> None:
    clock = MovedClock(wall=SystemClock().wall())
    stage = Residence(tmp_path, Server(), STAYS, clock=clock)
    stage.wait_for_facts(1)
    stage.seat.confirm(TaskRef("task_1", 1), clock.boottime())
    command = command_in(stage.folder)
    assert command is not None
    pass_by(clock)
    assert is_alive(command), "the command was ended without a reason"
    assert stage.kinds() == ["started"]
    stage.end()
