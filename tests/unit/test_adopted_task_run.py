"""The task run of a command that an earlier process started."""

from pathlib import Path

import pytest

from greenroom.client.run_outcome import DONE, FAILED, NOT_STARTED, RunOutcome
from greenroom.client.run_spec import run_marks
from greenroom.clock import SystemClock
from greenroom.process.identity import ProcessIdentity, is_alive
from greenroom.process.process_group import ProcessGroup
from tests.unit.scripted_transport import CONNECTION
from tests.unit.test_task_run import FINISHED, GATED_SCRIPT, HELD, ScriptedTaskRun
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.process


class AdoptedTaskRun(ScriptedTaskRun):
    """The task run of a command that an earlier process started, and whose process group it left behind."""

    def begin(self) -> ProcessGroup:
        env = {**self.plan.env, **self.marks, "GREENROOM_NOTES": str(self.plan.notes)}
        return ProcessGroup.spawn(self.plan.command, self.plan.cwd, env, b"given", self.plan.folder, self.marks)

    @property
    def marks(self) -> dict[str, str]:
        return run_marks("task_1", 1, CONNECTION)

    def run(self) -> RunOutcome:
        outcome = self.task_run.adopt()
        assert [] == self.transport.steps, "every step of the script was used"
        return outcome


def test_adopted_run_hands_off_its_output(tmp_path: Path) -> None:
    scripted = AdoptedTaskRun(tmp_path, "import sys; print('made of', sys.stdin.read())", HELD, FINISHED)
    group = scripted.begin()
    assert DONE == scripted.run().kind
    handoff = {"connection_id": CONNECTION, "attempt": 1, "to": "reviewer", "text": "made of given\n"}
    assert [("task_1", None), ("handoff", handoff)] == scripted.calls(), "the task is not started again"
    assert [group.identity] == scripted.started
    group.stop(0)


def test_adopted_run_has_remaining_time(tmp_path: Path) -> None:
    began_at = SystemClock().wall() - 600.0
    scripted = AdoptedTaskRun(tmp_path, "import time; time.sleep(600)", HELD, timeout_s=600.1, began_at=began_at)
    group = scripted.begin()
    outcome = scripted.run()
    assert (FAILED, True) == (outcome.kind, "did not end within its 600.1 s" in outcome.detail)
    assert not is_alive(group.identity)
    group.stop(0)


def test_adopted_run_keeps_its_exit(tmp_path: Path) -> None:
    scripted = AdoptedTaskRun(tmp_path, "import sys; sys.stderr.write('the reason'); sys.exit(3)", HELD)
    group = scripted.begin()
    group.wait(PATIENCE_S)
    assert (FAILED, "exit code 3\nthe reason") == ((outcome := scripted.run()).kind, outcome.detail)
    group.stop(0)


def test_unstarted_adopted_run_is_not_begun(tmp_path: Path) -> None:
    assert NOT_STARTED == AdoptedTaskRun(tmp_path, "").run().kind


def test_adopted_run_gets_each_note_once(tmp_path: Path) -> None:
    scripted = AdoptedTaskRun(tmp_path, GATED_SCRIPT, HELD, FINISHED)
    scripted.plan.folder.mkdir()
    scripted.plan.notes.write_text("make it blue\n")
    group = scripted.begin()

    def note(identity: ProcessIdentity) -> None:
        assert ["and round"] == scripted.task_run.deliver_notes(("make it blue", "and round"))
        assert [] == scripted.task_run.deliver_notes(("make it blue", "and round"))
        (tmp_path / "go").touch()

    scripted.task_run._on_started = note
    assert DONE == scripted.run().kind
    assert "make it blue\nand round\n" == scripted.plan.notes.read_text()
    group.stop(0)
