import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom.client import task_run
from greenroom.client.api_client import ApiClient
from greenroom.client.command_result import CommandResult
from greenroom.client.http_transport import Response
from greenroom.client.run_outcome import (
    DONE,
    FAILED,
    NOT_STARTED,
    OWNERSHIP_LOST,
    PAUSED,
    SELF_REPORTED,
    STOPPED,
    RunOutcome,
)
from greenroom.client.run_spec import RunSpec
from greenroom.client.task_run import NOTHING_WRITTEN, TaskRun
from greenroom.clock import SystemClock
from greenroom.domain import task as tasks
from greenroom.domain.limits import Limits
from greenroom.process import run_folder
from greenroom.process.identity import ProcessIdentity, identity_of, is_alive
from greenroom.testing import MovedClock
from tests.unit.scripted_transport import (
    CONNECTION,
    NoDelayEntropy,
    ScriptedTransport,
    Step,
    claimed_task,
    json_response,
    make_task,
    problem_response,
    unreachable,
)
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

LIMITS = Limits(stop_grace_s=PATIENCE_S, takeover_grace_s=PATIENCE_S, text_bytes_max=10_000, stderr_bytes_kept=100)
HELD = json_response(make_task())
FINISHED = json_response(make_task(status="completed", claimed_by=None))
IN_A_WHILE = "2025-10-09T08:58:20.000Z"
COMPLETED = make_task(status="completed", claimed_by=None, accepted_attempt=1)


class ScriptedTaskRun:
    """One task run of a Python script, against a scripted server."""

    def __init__(
        self, folder: Path, script: str, *steps: Step, then: str = "reviewer", limits: Limits = LIMITS, **plan: Any
    ) -> None:
        self.transport = ScriptedTransport(*steps)
        self.started: list[ProcessIdentity] = []
        self.clock = MovedClock()
        self.plan = RunSpec(
            command=(sys.executable, "-c", script),
            cwd=folder,
            env={"PATH": "/usr/bin:/bin"},
            receiver=then,
            folder=folder / "run",
            **plan,
        )
        session = ApiClient("http://there", "t", limits, self.transport, clock=self.clock, entropy=NoDelayEntropy(1))
        self.task_run = TaskRun(session, claimed_task(), CONNECTION, self.plan, SystemClock(), self.started.append)

    def run(self) -> RunOutcome:
        outcome = self.task_run.run()
        assert not any(is_alive(identity) for identity in self.started)
        assert [] == self.transport.steps, "every step of the script was used"
        return outcome

    def calls(self) -> list[tuple[str, Any]]:
        return [(path.rpartition("/")[2], body) for _, path, body, _, _ in self.transport.requests]


def test_task_is_input_and_output_is_handed_off(tmp_path: Path) -> None:
    scripted = ScriptedTaskRun(tmp_path, "print('made of', input())", HELD, HELD, FINISHED)
    outcome = scripted.run()
    assert (DONE, 0) == (outcome.kind, outcome.exit.code if outcome.exit else None)
    attempt = {"connection_id": CONNECTION, "attempt": 1}
    expected = [
        ("start", attempt),
        ("task_1", None),
        ("handoff", {**attempt, "to": "reviewer", "text": "made of build it\n"}),
    ]
    assert expected == scripted.calls()
    assert 1 == len(scripted.started)


LEAVE_A_PROCESS = """
import subprocess
subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 1000"], start_new_session=True, env={})
print("done")
"""


def test_ended_command_is_not_cut_short(tmp_path: Path) -> None:
    limits = msgspec.structs.replace(LIMITS, stop_grace_s=1.0)
    scripted = ScriptedTaskRun(tmp_path, LEAVE_A_PROCESS, HELD, HELD, FINISHED, limits=limits)

    def supersede() -> None:
        wait_until(lambda: (tmp_path / "run" / "exit.json").exists(), "the command has ended")
        scripted.task_run.supersede("Another agent has taken over the role.")

    thread = threading.Thread(target=supersede)
    thread.start()
    outcome = scripted.run()
    thread.join()
    assert DONE == outcome.kind


def test_last_role_completes_request(tmp_path: Path) -> None:
    scripted = ScriptedTaskRun(tmp_path, "print('done')", HELD, HELD, FINISHED, then="user")
    scripted.run()
    assert ("complete", {"connection_id": CONNECTION, "attempt": 1, "text": "done\n"}) == scripted.calls()[-1]


def test_empty_output_is_handed_off(tmp_path: Path) -> None:
    scripted = ScriptedTaskRun(tmp_path, "", HELD, HELD, FINISHED)
    scripted.run()
    assert NOTHING_WRITTEN == scripted.calls()[-1][1]["text"]


@pytest.mark.parametrize("script", ["", "print()", "import sys; print('noise', file=sys.stderr)"])
def test_empty_output_is_a_result_with_a_warning(tmp_path: Path, script: str) -> None:
    scripted = ScriptedTaskRun(tmp_path, script, HELD, HELD, FINISHED, then="user")
    outcome = scripted.run()
    assert NOTHING_WRITTEN == scripted.calls()[-1][1]["text"]
    assert (DONE, True) == (outcome.kind, outcome.is_empty)
    assert "wrote nothing" in outcome.detail


def test_empty_output_is_a_failure_by_choice(tmp_path: Path) -> None:
    script = "import sys; print('no key', file=sys.stderr)"
    scripted = ScriptedTaskRun(tmp_path, script, HELD, HELD, is_empty_failure=True)
    outcome = scripted.run()
    assert (FAILED, 0) == (outcome.kind, outcome.exit.code if outcome.exit else None)
    assert "wrote nothing" in outcome.detail
    assert "no key" in outcome.detail


def test_empty_text_of_own_result_is_empty(tmp_path: Path) -> None:
    result = '{"status":"done","text":" "}'
    script = f"import os; open(os.environ['GREENROOM_RESULT'], 'w').write('{result}'); print('log')"
    scripted = ScriptedTaskRun(tmp_path, script, HELD, HELD, is_empty_failure=True)
    assert FAILED == scripted.run().kind


def test_hand_off_by_the_command_itself_is_not_empty(tmp_path: Path) -> None:
    scripted = ScriptedTaskRun(tmp_path, "", HELD, json_response(COMPLETED), is_empty_failure=True)
    outcome = scripted.run()
    assert (SELF_REPORTED, False) == (outcome.kind, outcome.is_empty)


def test_long_output_is_cut_and_kept(tmp_path: Path) -> None:
    scripted = ScriptedTaskRun(tmp_path, "print('a' * 9000 + 'b' * 9000, end='')", HELD, HELD, FINISHED)
    outcome = scripted.run()
    text = scripted.calls()[-1][1]["text"]
    assert outcome.keeps_files
    assert text.startswith("aaaa")
    assert text.endswith("bbbb")
    assert str(scripted.plan.stdout) in text
    assert len(text) <= LIMITS.text_bytes_max
    assert 18_000 == scripted.plan.stdout.stat().st_size


def test_failure_detail_has_end_of_stderr(tmp_path: Path) -> None:
    script = "import sys; print('half'); sys.stderr.write('x' * 500 + 'the reason'); sys.exit(3)"
    scripted = ScriptedTaskRun(tmp_path, script, HELD, HELD)
    outcome = scripted.run()
    assert FAILED == outcome.kind
    assert "exit code 3" in outcome.detail
    assert outcome.detail.endswith("the reason")
    assert len(outcome.detail) < 200


def test_failed_start_is_not_begun(tmp_path: Path) -> None:
    scripted = ScriptedTaskRun(tmp_path, "", HELD)
    scripted.task_run._plan = RunSpec(
        command=("/no/such/program",), cwd=tmp_path, env={}, receiver="user", folder=tmp_path / "run"
    )
    outcome = scripted.run()
    assert NOT_STARTED == outcome.kind
    assert "/no/such/program" in outcome.detail


def test_timeout_is_failure(tmp_path: Path) -> None:
    scripted = ScriptedTaskRun(tmp_path, "import time; time.sleep(600)", HELD, HELD, timeout_s=0.3)
    outcome = scripted.run()
    assert FAILED == outcome.kind
    assert "0.3 s" in outcome.detail
    lingering = ScriptedTaskRun(tmp_path, "import time; time.sleep(600)", HELD, json_response(COMPLETED), timeout_s=0.3)
    assert SELF_REPORTED == lingering.run().kind


@pytest.mark.parametrize("script", ["print('noise')", "import sys; sys.exit(1)"])
@pytest.mark.parametrize("task", [COMPLETED, make_task(status="quarantined", claimed_by=None)])
def test_command_that_reported_itself_adds_nothing(tmp_path: Path, script: str, task: tasks.Task) -> None:
    scripted = ScriptedTaskRun(tmp_path, script, HELD, json_response(task))
    assert SELF_REPORTED == scripted.run().kind


def test_task_given_away_before_start_is_not_run(tmp_path: Path) -> None:
    scripted = ScriptedTaskRun(
        tmp_path, "raise SystemExit('ran')", problem_response("superseded", "Another agent has it.")
    )
    outcome = scripted.run()
    assert (OWNERSHIP_LOST, []) == (outcome.kind, scripted.started)
    assert "Another agent has it." in outcome.detail


def test_late_result_is_no_failure(tmp_path: Path) -> None:
    another = json_response(make_task(attempt=2, claimed_by="conn_2", last_holder="conn_2"))
    late = ScriptedTaskRun(tmp_path, "print('done')", HELD, another, problem_response("superseded"))
    assert OWNERSHIP_LOST == late.run().kind
    failed = ScriptedTaskRun(tmp_path, "raise SystemExit(1)", HELD, another)
    assert OWNERSHIP_LOST == failed.run().kind


RESULT_SCRIPT = (
    "import os, sys; open(os.environ['GREENROOM_RESULT'], 'w').write({result!r}); print('noise'); sys.exit({code})"
)


def test_result_text_replaces_output(tmp_path: Path) -> None:
    script = RESULT_SCRIPT.format(result='{"status": "done", "text": "the answer"}', code=0)
    scripted = ScriptedTaskRun(tmp_path, script, HELD, HELD, FINISHED)
    assert DONE == scripted.run().kind
    assert "the answer" == scripted.calls()[-1][1]["text"]


@pytest.mark.parametrize(
    ("response", "kind"),
    [(HELD, DONE), (json_response(make_task(attempt=2, claimed_by="conn_2", last_holder="conn_2")), OWNERSHIP_LOST)],
    ids=["own task", "task of another attempt"],
)
def test_result_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, response: Response, kind: str) -> None:
    results = [
        CommandResult(status="done", text="the answer"),
        CommandResult(status="failed", reason="written meanwhile"),
    ]
    monkeypatch.setattr(task_run, "read_result", lambda *where: results.pop(0))
    code = 0 if kind == DONE else 1
    scripted = ScriptedTaskRun(tmp_path, f"print('noise'); raise SystemExit({code})", HELD, response, FINISHED)
    assert kind == scripted.run().kind
    assert "the answer" == scripted.calls()[-1][1]["text"]


def test_failed_result_overrides_exit_code(tmp_path: Path) -> None:
    script = RESULT_SCRIPT.format(result='{"status": "failed", "reason": "no such branch"}', code=0)
    outcome = ScriptedTaskRun(tmp_path, script, HELD, HELD).run()
    assert (FAILED, "no such branch") == (outcome.kind, outcome.detail)


def test_done_result_keeps_failed_exit_code(tmp_path: Path) -> None:
    script = RESULT_SCRIPT.format(result='{"status": "done", "text": "the answer"}', code=3)
    outcome = ScriptedTaskRun(tmp_path, script, HELD, HELD).run()
    assert (FAILED, "exit code 3") == (outcome.kind, outcome.detail)


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize(("status", "until"), [("rate_limited", IN_A_WHILE), ("login_required", None)])
def test_limit_and_missing_login_pause(tmp_path: Path, status: str, until: str | None, code: int) -> None:
    script = RESULT_SCRIPT.format(result=f'{{"status": "{status}", "reason": "too much"}}', code=code)
    scripted = ScriptedTaskRun(tmp_path, script, HELD, HELD)
    scripted.task_run._clock = scripted.clock
    outcome = scripted.run()
    assert (PAUSED, until, code) == (outcome.kind, outcome.until, outcome.exit.code if outcome.exit else None)
    assert outcome.detail.endswith(": too much")


def test_result_of_earlier_run_is_ignored(tmp_path: Path) -> None:
    first = ScriptedTaskRun(tmp_path, RESULT_SCRIPT.format(result='{"status": "failed"}', code=0), HELD, HELD)
    assert FAILED == first.run().kind
    assert DONE == ScriptedTaskRun(tmp_path, "print('fine')", HELD, HELD, FINISHED).run().kind


def test_unobserved_exit_is_failure_and_output_is_kept(tmp_path: Path) -> None:
    script = (
        "import os, signal, time; print('half', flush=True); os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)"
    )
    scripted = ScriptedTaskRun(tmp_path, script, HELD, HELD)
    outcome = scripted.run()
    assert (FAILED, True) == (outcome.kind, outcome.keeps_files)
    assert "how the command ended is unknown" in outcome.detail
    assert str(scripted.plan.stdout) in outcome.detail


def test_rejected_result_is_kept(tmp_path: Path) -> None:
    scripted = ScriptedTaskRun(
        tmp_path, "print('done')", HELD, HELD, problem_response("room_closed", "The room is closed.")
    )
    outcome = scripted.run()
    assert (FAILED, True) == (outcome.kind, outcome.keeps_files)
    assert "The room is closed." in outcome.detail
    assert str(scripted.plan.stdout) in outcome.detail


def test_run_waits_for_server(tmp_path: Path) -> None:
    script = ScriptedTaskRun(
        tmp_path, "print('done')", unreachable(), HELD, unreachable(), HELD, unreachable(), unreachable(), FINISHED
    )
    assert DONE == script.run().kind


def test_doubted_run_goes_on_while_owned(tmp_path: Path) -> None:
    scripted = ScriptedTaskRun(tmp_path, GATED_SCRIPT)

    def doubt_again() -> Response:
        scripted.task_run.check_ownership()
        raise unreachable()

    def open_gate() -> Response:
        (tmp_path / "go").touch()
        return json_response(make_task(status="pending", released_cause="lost", claimed_by=None))

    scripted.transport.steps += [HELD, doubt_again, open_gate, HELD, FINISHED]
    scripted.task_run.check_ownership()
    assert DONE == scripted.run().kind


GATED_SCRIPT = """
import pathlib, sys, threading
print("partial", flush=True)
while not pathlib.Path("go").exists():
    threading.Event().wait(0.01)
"""


def test_cancelled_run_is_stopped_and_output_is_late(tmp_path: Path) -> None:
    scripted = ScriptedTaskRun(tmp_path, "import time; print('partial', flush=True); time.sleep(600)")
    stdout = scripted.plan.stdout

    def cancelled() -> Response:
        while not stdout.read_bytes():
            pass
        return json_response(make_task(status="closed", claimed_by=None, reason="no more"))

    scripted.transport.steps += [HELD, cancelled, problem_response("superseded")]
    scripted.task_run.check_ownership()
    outcome = scripted.run()
    assert OWNERSHIP_LOST == outcome.kind
    assert "cancelled (no more)" in outcome.detail
    assert ("handoff", "partial\n") == (scripted.calls()[-1][0], scripted.calls()[-1][1]["text"])


def test_stop_ends_run_with_children(tmp_path: Path) -> None:
    child = "import time; time.sleep(600)"
    script = (
        f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid, flush=True); {child}"
    )
    scripted = ScriptedTaskRun(tmp_path, script, HELD)
    children: list[ProcessIdentity | None] = []

    def stop_after_child_started() -> None:
        while not (line := scripted.plan.stdout.read_text()).endswith("\n"):
            threading.Event().wait(0.01)
        children.append(identity_of(int(line)))
        scripted.task_run.stop("on request")

    stopper = threading.Thread(target=stop_after_child_started)
    scripted.task_run._on_started = lambda identity: stopper.start()
    outcome = scripted.run()
    stopper.join(PATIENCE_S)
    assert (STOPPED, "on request") == (outcome.kind, outcome.detail)
    assert children[0] is not None
    assert not is_alive(children[0])


def test_stop_ends_wait_for_server(tmp_path: Path) -> None:
    scripted = ScriptedTaskRun(tmp_path, "print('done')")

    def stop() -> Response:
        scripted.task_run.stop("on request")
        raise unreachable()

    scripted.transport.steps += [HELD, HELD, unreachable(), stop]
    outcome = scripted.run()
    assert (STOPPED, True) == (outcome.kind, outcome.keeps_files)


def test_start_answer_older_than_lease_is_repeated(tmp_path: Path) -> None:
    scripted = ScriptedTaskRun(tmp_path, "print('done')")
    scripted.task_run._clock = scripted.clock

    def suspend_then_answer() -> Response:
        scripted.clock.sleep(8 * 3600.0)
        return HELD

    scripted.transport.steps += [suspend_then_answer, problem_response("superseded")]
    assert OWNERSHIP_LOST == scripted.run().kind
    assert [] == scripted.started


def test_suspend_before_command_prevents_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = ScriptedTaskRun(tmp_path, "open('began', 'w')", HELD, problem_response("superseded"))
    scripted.task_run._clock = scripted.clock
    begin = run_folder.prepare_folder

    def suspend_then_begin(folder: Path, command: Sequence[str], stdin: bytes) -> None:
        scripted.clock.sleep(8 * 3600.0)
        begin(folder, command, stdin)

    monkeypatch.setattr(run_folder, "prepare_folder", suspend_then_begin)
    assert OWNERSHIP_LOST == scripted.run().kind
    assert not (tmp_path / "began").exists()


@pytest.mark.parametrize(("method", "kind"), [("stop", STOPPED), ("supersede", OWNERSHIP_LOST)])
def test_stop_before_command_prevents_start(tmp_path: Path, method: str, kind: str) -> None:
    scripted = ScriptedTaskRun(tmp_path, "open('began', 'w')")

    def end_then_answer() -> Response:
        getattr(scripted.task_run, method)("no more")
        return HELD

    scripted.transport.steps.append(end_then_answer)
    assert kind == scripted.run().kind
    assert not (tmp_path / "began").exists()


def test_suspended_time_is_no_run_time(tmp_path: Path) -> None:
    is_running, gate = tmp_path / "alive", tmp_path / "gate"
    script = (
        "import pathlib, time\n"
        f"pathlib.Path({str(is_running)!r}).touch()\n"
        f"while not pathlib.Path({str(gate)!r}).exists():\n    time.sleep(0.01)\n"
        "print('done')"
    )
    scripted = ScriptedTaskRun(tmp_path, script, HELD, HELD, json_response(COMPLETED), timeout_s=600.0)
    scripted.task_run._clock = scripted.clock

    def suspend() -> None:
        while not is_running.exists():
            threading.Event().wait(0.01)
        scripted.clock.sleep(8 * 3600.0)
        threading.Event().wait(0.2)  # time in which a wrong timeout would stop the command
        gate.touch()

    threading.Thread(target=suspend, daemon=True).start()
    assert DONE == scripted.run().kind


def test_notes_file_is_in_environment(tmp_path: Path) -> None:
    script = """
import os, pathlib, sys, threading
notes = pathlib.Path(os.environ["GREENROOM_NOTES"])
print(sys.stdin.read())
while "blue" not in notes.read_text():
    threading.Event().wait(0.01)
"""
    scripted = ScriptedTaskRun(tmp_path, script, HELD, HELD, FINISHED)

    def note(identity: ProcessIdentity) -> None:
        scripted.task_run.deliver_notes(("make it blue",))

    scripted.task_run._on_started = note
    assert DONE == scripted.run().kind
    assert "build it\n" == scripted.calls()[-1][1]["text"]
    assert "make it blue\n" == scripted.plan.notes.read_text()
