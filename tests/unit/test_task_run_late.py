"""The output of a run whose task went to another: kept as a late result, or else in a file that is named."""

import threading
from pathlib import Path

import pytest

from greenroom.client.run_outcome import OWNERSHIP_LOST
from tests.unit.scripted_transport import json_response, make_task, problem_response
from tests.unit.test_task_run import HELD, ScriptedTaskRun
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.process


def test_superseded_run_is_stopped_and_output_is_late(tmp_path: Path) -> None:
    scripted = ScriptedTaskRun(tmp_path, "import time; print('partial', flush=True); time.sleep(600)")

    def supersede_after_output() -> None:
        while not scripted.plan.stdout.read_bytes():
            threading.Event().wait(0.01)
        scripted.task_run.supersede("Somebody else has it.")

    thread = threading.Thread(target=supersede_after_output)
    scripted.task_run._on_started = lambda identity: thread.start()
    scripted.transport.steps += [HELD, problem_response("superseded")]
    outcome = scripted.run()
    thread.join(PATIENCE_S)
    assert OWNERSHIP_LOST == outcome.kind
    assert outcome.detail.startswith("Somebody else has it. Its output was kept")
    assert ("handoff", "partial\n") == (scripted.calls()[-1][0], scripted.calls()[-1][1]["text"])


@pytest.mark.parametrize("code", [0, 1])
def test_unkept_late_result_stays_in_file(tmp_path: Path, code: int) -> None:
    another = json_response(make_task(attempt=2, claimed_by="conn_2", last_holder="conn_2"))
    script = f"import sys; print('half'); sys.exit({code})"
    scripted = ScriptedTaskRun(
        tmp_path, script, HELD, another, problem_response("not_kept", "Attempt 1 no longer counts.")
    )
    outcome = scripted.run()
    assert (OWNERSHIP_LOST, True) == (outcome.kind, outcome.keeps_files)
    assert f"It is in {scripted.plan.stdout}." in outcome.detail
    assert "was kept as a late result" not in outcome.detail


def test_rejected_late_result_stays_in_file(tmp_path: Path) -> None:
    script = "import sys; print('half'); sys.exit(1)"
    another = json_response(make_task(attempt=2, claimed_by="conn_2", last_holder="conn_2"))
    scripted = ScriptedTaskRun(
        tmp_path, script, HELD, another, problem_response("invalid_request", "There is no such role.")
    )
    outcome = scripted.run()
    assert (OWNERSHIP_LOST, True) == (outcome.kind, outcome.keeps_files)
    assert f"(There is no such role.) and is in {scripted.plan.stdout}." in outcome.detail
