import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from greenroom.client import errand
from greenroom.client.briefing import marks_of
from greenroom.client.errand import NOTHING_WRITTEN, Errand
from greenroom.client.outcome import DID_ITSELF, DONE, FAILED, GONE, NOT_BEGUN, PAUSED, STOPPED, Outcome
from greenroom.client.plan import Plan
from greenroom.client.result import Result
from greenroom.client.session import Session
from greenroom.client.transport import Response
from greenroom.clock import MovedClock, SystemClock
from greenroom.domain import task as tasks
from greenroom.domain.reliability import Reliability
from greenroom.entropy import SeededEntropy
from greenroom.process import journal
from greenroom.process.group import Group
from greenroom.process.identity import Identity, identity_of, is_alive
from tests.unit.scripted import CONNECTION, ScriptedTransport, Step, answer, claimed, refusal, silence, task_of
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.process

LIMITS = Reliability(stop_grace_s=PATIENCE_S, takeover_grace_s=PATIENCE_S, text_bytes_max=10_000, stderr_bytes_kept=100)
HELD = answer(task_of())
FINISHED = answer(task_of(status="completed", claimed_by=None))
IN_A_WHILE = "2025-10-09T08:58:20.000Z"
OURS_COMPLETED = task_of(status="completed", claimed_by=None, accepted_attempt=1)


class NoPause(SeededEntropy):
    def fraction(self) -> float:
        return 0.0


class Trying:
    """One task run of a Python script, against a scripted server."""

    def __init__(self, folder: Path, script: str, *steps: Step, then: str = "reviewer", **plan: Any) -> None:
        self.transport = ScriptedTransport(*steps)
        self.started: list[Identity] = []
        self.clock = MovedClock()
        self.plan = Plan(
            command=(sys.executable, "-c", script),
            cwd=folder,
            env={"PATH": "/usr/bin:/bin"},
            then=then,
            folder=folder / "run",
            **plan,
        )
        session = Session("http://there", "t", LIMITS, self.transport, clock=self.clock, entropy=NoPause(1))
        self.errand = Errand(session, claimed(), CONNECTION, self.plan, SystemClock(), self.started.append)

    def go(self) -> Outcome:
        outcome = self.errand.carry_out()
        assert not any(is_alive(identity) for identity in self.started)
        assert [] == self.transport.steps, "every step of the script was used"
        return outcome

    def calls(self) -> list[tuple[str, Any]]:
        return [(path.rpartition("/")[2], body) for _, path, body, _, _ in self.transport.asked]


def test_the_task_goes_in_and_the_output_goes_on(tmp_path: Path) -> None:
    trying = Trying(tmp_path, "print('made of', input())", HELD, HELD, FINISHED)
    outcome = trying.go()
    assert (DONE, 0) == (outcome.kind, outcome.exit.code if outcome.exit else None)
    on = {"connection_id": CONNECTION, "attempt": 1}
    expected = [("start", on), ("task_1", None), ("handoff", {**on, "to": "reviewer", "text": "made of build it\n"})]
    assert expected == trying.calls()
    assert 1 == len(trying.started)


def test_the_last_one_completes_the_request(tmp_path: Path) -> None:
    trying = Trying(tmp_path, "print('done')", HELD, HELD, FINISHED, then="user")
    trying.go()
    assert ("complete", {"connection_id": CONNECTION, "attempt": 1, "text": "done\n"}) == trying.calls()[-1]


def test_a_silent_command_still_hands_something_on(tmp_path: Path) -> None:
    trying = Trying(tmp_path, "", HELD, HELD, FINISHED)
    trying.go()
    assert NOTHING_WRITTEN == trying.calls()[-1][1]["text"]


def test_an_output_beyond_the_limit_is_cut_in_the_middle_and_kept_whole(tmp_path: Path) -> None:
    trying = Trying(tmp_path, "print('a' * 9000 + 'b' * 9000, end='')", HELD, HELD, FINISHED)
    outcome = trying.go()
    text = trying.calls()[-1][1]["text"]
    assert outcome.is_kept
    assert text.startswith("aaaa")
    assert text.endswith("bbbb")
    assert str(trying.plan.stdout) in text
    assert len(text) <= LIMITS.text_bytes_max
    assert 18_000 == trying.plan.stdout.stat().st_size


def test_a_bad_end_is_told_with_the_end_of_what_it_said(tmp_path: Path) -> None:
    script = "import sys; print('half'); sys.stderr.write('x' * 500 + 'the reason'); sys.exit(3)"
    trying = Trying(tmp_path, script, HELD, HELD)
    outcome = trying.go()
    assert FAILED == outcome.kind
    assert "exit code 3" in outcome.detail
    assert outcome.detail.endswith("the reason")
    assert len(outcome.detail) < 200


def test_a_command_that_cannot_be_started_has_not_begun(tmp_path: Path) -> None:
    trying = Trying(tmp_path, "", HELD)
    trying.errand._plan = Plan(
        command=("/no/such/program",), cwd=tmp_path, env={}, then="user", folder=tmp_path / "run"
    )
    outcome = trying.go()
    assert NOT_BEGUN == outcome.kind
    assert "/no/such/program" in outcome.detail


def test_a_command_that_takes_too_long_is_a_bad_end(tmp_path: Path) -> None:
    trying = Trying(tmp_path, "import time; time.sleep(600)", HELD, HELD, timeout_s=0.3)
    outcome = trying.go()
    assert FAILED == outcome.kind
    assert "0.3 s" in outcome.detail
    lingering = Trying(tmp_path, "import time; time.sleep(600)", HELD, answer(OURS_COMPLETED), timeout_s=0.3)
    assert DID_ITSELF == lingering.go().kind


@pytest.mark.parametrize("script", ["print('noise')", "import sys; sys.exit(1)"])
@pytest.mark.parametrize("left", [OURS_COMPLETED, task_of(status="quarantined", claimed_by=None)])
def test_the_end_of_a_command_that_handed_off_itself_adds_nothing(
    tmp_path: Path, script: str, left: tasks.Task
) -> None:
    trying = Trying(tmp_path, script, HELD, answer(left))
    assert DID_ITSELF == trying.go().kind


def test_a_task_that_was_given_away_before_the_start_is_not_run(tmp_path: Path) -> None:
    trying = Trying(tmp_path, "raise SystemExit('ran')", refusal("superseded", "Another agent has it."))
    outcome = trying.go()
    assert (GONE, []) == (outcome.kind, trying.started)
    assert "Another agent has it." in outcome.detail


def test_a_late_result_is_no_bad_end(tmp_path: Path) -> None:
    another = answer(task_of(attempt=2, claimed_by="conn_2", last_holder="conn_2"))
    late = Trying(tmp_path, "print('done')", HELD, another, refusal("superseded"))
    assert GONE == late.go().kind
    died = Trying(tmp_path, "raise SystemExit(1)", HELD, another)
    assert GONE == died.go().kind


TELLING = "import os, sys; open(os.environ['GREENROOM_RESULT'], 'w').write({said!r}); print('noise'); sys.exit({code})"


def test_the_text_of_a_result_is_handed_on_instead_of_what_was_printed(tmp_path: Path) -> None:
    script = TELLING.format(said='{"status": "done", "text": "the answer"}', code=0)
    trying = Trying(tmp_path, script, HELD, HELD, FINISHED)
    assert DONE == trying.go().kind
    assert "the answer" == trying.calls()[-1][1]["text"]


@pytest.mark.parametrize(
    ("now", "kind"),
    [(HELD, DONE), (answer(task_of(attempt=2, claimed_by="conn_2", last_holder="conn_2")), GONE)],
    ids=["own task", "task of another attempt"],
)
def test_what_is_judged_is_what_is_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: Response, kind: str
) -> None:
    said = [Result(status="done", text="the answer"), Result(status="failed", reason="written meanwhile")]
    monkeypatch.setattr(errand, "read_result", lambda *where: said.pop(0))
    code = 0 if kind == DONE else 1
    trying = Trying(tmp_path, f"print('noise'); raise SystemExit({code})", HELD, now, FINISHED)
    assert kind == trying.go().kind
    assert "the answer" == trying.calls()[-1][1]["text"]


def test_a_result_that_says_failed_is_a_bad_end_whatever_the_exit_code(tmp_path: Path) -> None:
    script = TELLING.format(said='{"status": "failed", "reason": "no such branch"}', code=0)
    outcome = Trying(tmp_path, script, HELD, HELD).go()
    assert (FAILED, "no such branch") == (outcome.kind, outcome.detail)


def test_a_result_that_says_done_makes_no_good_end_of_a_bad_exit_code(tmp_path: Path) -> None:
    script = TELLING.format(said='{"status": "done", "text": "the answer"}', code=3)
    outcome = Trying(tmp_path, script, HELD, HELD).go()
    assert (FAILED, "exit code 3") == (outcome.kind, outcome.detail)


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize(("status", "until"), [("rate_limited", IN_A_WHILE), ("login_required", None)])
def test_a_limit_and_a_missing_login_pause(tmp_path: Path, status: str, until: str | None, code: int) -> None:
    script = TELLING.format(said=f'{{"status": "{status}", "reason": "too much"}}', code=code)
    trying = Trying(tmp_path, script, HELD, HELD)
    trying.errand._clock = trying.clock
    outcome = trying.go()
    assert (PAUSED, until, code) == (outcome.kind, outcome.until, outcome.exit.code if outcome.exit else None)
    assert outcome.detail.endswith(": too much")


def test_what_a_former_run_said_in_the_same_folder_says_nothing_of_this_one(tmp_path: Path) -> None:
    first = Trying(tmp_path, TELLING.format(said='{"status": "failed"}', code=0), HELD, HELD)
    assert FAILED == first.go().kind
    assert DONE == Trying(tmp_path, "print('fine')", HELD, HELD, FINISHED).go().kind


def test_an_end_that_nobody_saw_is_a_bad_one_and_what_was_written_is_named(tmp_path: Path) -> None:
    script = (
        "import os, signal, time; print('half', flush=True); os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)"
    )
    trying = Trying(tmp_path, script, HELD, HELD)
    outcome = trying.go()
    assert (FAILED, True) == (outcome.kind, outcome.is_kept)
    assert "how the command ended is unknown" in outcome.detail
    assert str(trying.plan.stdout) in outcome.detail


class Adopting(Trying):
    """The task run of a command that an earlier process started, and whose process group it left behind."""

    def begin(self) -> Group:
        env = {**self.plan.env, **self.marks, "GREENROOM_NOTES": str(self.plan.notes)}
        return Group.spawn(self.plan.command, self.plan.cwd, env, b"given", self.plan.folder, self.marks)

    @property
    def marks(self) -> dict[str, str]:
        return marks_of("task_1", 1, CONNECTION)

    def go(self) -> Outcome:
        outcome = self.errand.carry_on()
        assert [] == self.transport.steps, "every step of the script was used"
        return outcome


def test_an_adopted_run_hands_on_what_it_wrote_under_its_own_attempt(tmp_path: Path) -> None:
    trying = Adopting(tmp_path, "import sys; print('made of', sys.stdin.read())", HELD, FINISHED)
    group = trying.begin()
    assert DONE == trying.go().kind
    on = {"connection_id": CONNECTION, "attempt": 1, "to": "reviewer", "text": "made of given\n"}
    assert [("task_1", None), ("handoff", on)] == trying.calls(), "the task is not started again"
    assert [group.identity] == trying.started
    group.stop(0)


def test_an_adopted_run_has_the_time_that_is_left_of_its_own(tmp_path: Path) -> None:
    began_at = SystemClock().wall() - 600.0
    trying = Adopting(tmp_path, "import time; time.sleep(600)", HELD, timeout_s=600.1, began_at=began_at)
    group = trying.begin()
    outcome = trying.go()
    assert (FAILED, True) == (outcome.kind, "did not end within its 600.1 s" in outcome.detail)
    assert not is_alive(group.identity)
    group.stop(0)


def test_an_adopted_run_that_ended_meanwhile_ended_as_it_did(tmp_path: Path) -> None:
    trying = Adopting(tmp_path, "import sys; sys.stderr.write('the reason'); sys.exit(3)", HELD)
    group = trying.begin()
    group.wait(PATIENCE_S)
    assert (FAILED, "exit code 3\nthe reason") == ((outcome := trying.go()).kind, outcome.detail)
    group.stop(0)


def test_an_adopted_run_that_was_never_started_has_not_begun(tmp_path: Path) -> None:
    assert NOT_BEGUN == Adopting(tmp_path, "").go().kind


def test_an_adopted_run_gets_each_note_once(tmp_path: Path) -> None:
    trying = Adopting(tmp_path, SLOW, HELD, FINISHED)
    trying.plan.folder.mkdir()
    trying.plan.notes.write_text("make it blue\n")
    group = trying.begin()

    def note(identity: Identity) -> None:
        assert ["and round"] == trying.errand.take_notes(("make it blue", "and round"))
        assert [] == trying.errand.take_notes(("make it blue", "and round"))
        (tmp_path / "go").touch()

    trying.errand._on_started = note
    assert DONE == trying.go().kind
    assert "make it blue\nand round\n" == trying.plan.notes.read_text()
    group.stop(0)


def test_what_the_server_will_not_take_is_kept_and_told(tmp_path: Path) -> None:
    trying = Trying(tmp_path, "print('done')", HELD, HELD, refusal("room_closed", "The room is closed."))
    outcome = trying.go()
    assert (FAILED, True) == (outcome.kind, outcome.is_kept)
    assert "The room is closed." in outcome.detail
    assert str(trying.plan.stdout) in outcome.detail


def test_a_server_that_is_away_is_waited_for(tmp_path: Path) -> None:
    script = Trying(tmp_path, "print('done')", silence(), HELD, silence(), HELD, silence(), silence(), FINISHED)
    assert DONE == script.go().kind


def test_a_doubted_run_goes_on_while_the_task_is_its_own_or_nobody_can_say(tmp_path: Path) -> None:
    trying = Trying(tmp_path, SLOW)

    def doubt_again() -> Response:
        trying.errand.doubt()
        raise silence()

    def let_it_end() -> Response:
        (tmp_path / "go").touch()
        return answer(task_of(status="pending", released_cause="lost", claimed_by=None))

    trying.transport.steps += [HELD, doubt_again, let_it_end, HELD, FINISHED]
    trying.errand.doubt()
    assert DONE == trying.go().kind


SLOW = """
import pathlib, sys, threading
print("partial", flush=True)
while not pathlib.Path("go").exists():
    threading.Event().wait(0.01)
"""


def test_a_cancelled_run_is_stopped_and_what_it_wrote_is_a_late_result(tmp_path: Path) -> None:
    trying = Trying(tmp_path, "import time; print('partial', flush=True); time.sleep(600)")
    out = trying.plan.stdout

    def cancelled() -> Response:
        while not out.read_bytes():
            pass
        return answer(task_of(status="closed", claimed_by=None, reason="no more"))

    trying.transport.steps += [HELD, cancelled, refusal("superseded")]
    trying.errand.doubt()
    outcome = trying.go()
    assert GONE == outcome.kind
    assert "cancelled (no more)" in outcome.detail
    assert ("handoff", "partial\n") == (trying.calls()[-1][0], trying.calls()[-1][1]["text"])


def test_a_stopped_run_ends_with_all_its_children(tmp_path: Path) -> None:
    child = "import time; time.sleep(600)"
    script = (
        f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid, flush=True); {child}"
    )
    trying = Trying(tmp_path, script, HELD)
    children: list[Identity | None] = []

    def stop_when_it_has_a_child() -> None:
        while not (told := trying.plan.stdout.read_text()).endswith("\n"):
            threading.Event().wait(0.01)
        children.append(identity_of(int(told)))
        trying.errand.stop("by wish")

    stopper = threading.Thread(target=stop_when_it_has_a_child)
    trying.errand._on_started = lambda identity: stopper.start()
    outcome = trying.go()
    stopper.join(PATIENCE_S)
    assert (STOPPED, "by wish") == (outcome.kind, outcome.detail)
    assert children[0] is not None
    assert not is_alive(children[0])


def test_a_stop_ends_the_waiting_for_the_server_too(tmp_path: Path) -> None:
    trying = Trying(tmp_path, "print('done')")

    def stop() -> Response:
        trying.errand.stop("by wish")
        raise silence()

    trying.transport.steps += [HELD, HELD, silence(), stop]
    outcome = trying.go()
    assert (STOPPED, True) == (outcome.kind, outcome.is_kept)


def test_a_start_that_lay_in_its_socket_through_the_night_is_asked_for_again(tmp_path: Path) -> None:
    trying = Trying(tmp_path, "print('done')")
    trying.errand._clock = trying.clock

    def overnight() -> Response:
        trying.clock.sleep(8 * 3600.0)
        return HELD

    trying.transport.steps += [overnight, refusal("superseded")]
    assert GONE == trying.go().kind
    assert [] == trying.started


def test_a_night_between_the_word_and_the_command_lets_nothing_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trying = Trying(tmp_path, "open('began', 'w')", HELD, refusal("superseded"))
    trying.errand._clock = trying.clock
    begin = journal.begin

    def overnight(folder: Path, command: Sequence[str], stdin: bytes) -> None:
        trying.clock.sleep(8 * 3600.0)
        begin(folder, command, stdin)

    monkeypatch.setattr(journal, "begin", overnight)
    assert GONE == trying.go().kind
    assert not (tmp_path / "began").exists()


@pytest.mark.parametrize(("how", "kind"), [("stop", STOPPED), ("lose", GONE)])
def test_what_is_ended_between_the_word_and_the_command_does_not_begin(tmp_path: Path, how: str, kind: str) -> None:
    trying = Trying(tmp_path, "open('began', 'w')")

    def ended() -> Response:
        getattr(trying.errand, how)("no more")
        return HELD

    trying.transport.steps.append(ended)
    assert kind == trying.go().kind
    assert not (tmp_path / "began").exists()


def test_a_night_s_sleep_is_no_time_that_the_command_had(tmp_path: Path) -> None:
    alive, gate = tmp_path / "alive", tmp_path / "gate"
    script = (
        "import pathlib, time\n"
        f"pathlib.Path({str(alive)!r}).touch()\n"
        f"while not pathlib.Path({str(gate)!r}).exists():\n    time.sleep(0.01)\n"
        "print('done')"
    )
    trying = Trying(tmp_path, script, HELD, HELD, answer(OURS_COMPLETED), timeout_s=600.0)
    trying.errand._clock = trying.clock

    def sleep() -> None:
        while not alive.exists():
            threading.Event().wait(0.01)
        trying.clock.sleep(8 * 3600.0)
        threading.Event().wait(0.2)  # time in which a wrong timeout would stop the command
        gate.touch()

    threading.Thread(target=sleep, daemon=True).start()
    assert DONE == trying.go().kind


def test_a_run_whose_seat_was_lost_is_stopped_and_what_it_wrote_is_a_late_result(tmp_path: Path) -> None:
    trying = Trying(tmp_path, "import time; print('partial', flush=True); time.sleep(600)")

    def lose_when_it_has_written() -> None:
        while not trying.plan.stdout.read_bytes():
            threading.Event().wait(0.01)
        trying.errand.lose("Somebody else has it.")

    loser = threading.Thread(target=lose_when_it_has_written)
    trying.errand._on_started = lambda identity: loser.start()
    trying.transport.steps += [HELD, refusal("superseded")]
    outcome = trying.go()
    loser.join(PATIENCE_S)
    assert GONE == outcome.kind
    assert outcome.detail.startswith("Somebody else has it. What it had written was kept")
    assert ("handoff", "partial\n") == (trying.calls()[-1][0], trying.calls()[-1][1]["text"])


@pytest.mark.parametrize("code", [0, 1])
def test_what_the_server_has_no_place_for_stays_where_it_was_written(tmp_path: Path, code: int) -> None:
    another = answer(task_of(attempt=2, claimed_by="conn_2", last_holder="conn_2"))
    script = f"import sys; print('half'); sys.exit({code})"
    trying = Trying(tmp_path, script, HELD, another, refusal("not_kept", "Attempt 1 no longer counts."))
    outcome = trying.go()
    assert (GONE, True) == (outcome.kind, outcome.is_kept)
    assert f"It is in {trying.plan.stdout}." in outcome.detail
    assert "was kept as a late result" not in outcome.detail


def test_what_cannot_even_be_handed_in_late_is_kept_and_told(tmp_path: Path) -> None:
    script = "import sys; print('half'); sys.exit(1)"
    another = answer(task_of(attempt=2, claimed_by="conn_2", last_holder="conn_2"))
    trying = Trying(tmp_path, script, HELD, another, refusal("invalid_request", "There is no such role."))
    outcome = trying.go()
    assert (GONE, True) == (outcome.kind, outcome.is_kept)
    assert f"(There is no such role.) and is in {trying.plan.stdout}." in outcome.detail


def test_notes_reach_a_run_by_a_file_that_its_environment_names(tmp_path: Path) -> None:
    script = """
import os, pathlib, sys, threading
notes = pathlib.Path(os.environ["GREENROOM_NOTES"])
print(sys.stdin.read())
while "blue" not in notes.read_text():
    threading.Event().wait(0.01)
"""
    trying = Trying(tmp_path, script, HELD, HELD, FINISHED)

    def note(identity: Identity) -> None:
        trying.errand.take_notes(("make it blue",))

    trying.errand._on_started = note
    assert DONE == trying.go().kind
    assert "build it\n" == trying.calls()[-1][1]["text"]
    assert "make it blue\n" == trying.plan.notes.read_text()
