"""A daemon adopts the runs of the one before it."""

import os
import signal
import threading
from pathlib import Path

import msgspec
import pytest

from greenroom.client.briefing import marks_of
from greenroom.clock import MovedClock, SystemClock
from greenroom.daemon import adoption
from greenroom.daemon.chronicle import id_of
from greenroom.daemon.errands import NOT_KEPT
from greenroom.daemon.outbox import Outbox
from greenroom.daemon.runs import Run, RunBook
from greenroom.domain.supervision import BACKING_OFF
from greenroom.process.group import Group
from greenroom.process.identity import Identity
from greenroom.process.members import kill_leftover
from greenroom.wire.requests import Fact
from tests.unit.scripted import claimed
from tests.unit.stage import WISH, Stage
from tests.unit.stand_in import Server
from tests.waiting import PATIENCE_S, wait_until


def run_in(tmp_path: Path, task: str = "task_1", **more: object) -> Run:
    run = Run(
        task=task,
        attempt=1,
        room=WISH.room,
        role=WISH.role,
        connection_id=f"conn_{tmp_path.name}_{os.getpid()}"[:64],
        wish=WISH,
        claimed=claimed(id=task, attempt=1, text=NOT_KEPT, token=NOT_KEPT),
        then="reviewer",
        began_at=SystemClock().wall(),
        folder=str(tmp_path / "logs" / "r" / "builder" / f"{task}.1"),
    )
    return msgspec.structs.replace(run, **more)


def spawn(run: Run, script: str, tmp_path: Path) -> Group:
    """Start a run's command as a daemon did that was killed afterwards."""
    marks = marks_of(run.task, run.attempt, run.connection_id)
    folder = Path(run.folder)
    folder.mkdir(parents=True)
    group = Group.spawn(["sh", "-c", script], tmp_path, {"PATH": os.environ["PATH"], **marks}, b"", folder, marks)
    RunBook(tmp_path / "runs").note(msgspec.structs.replace(run, identity=group.identity))
    return group


class Held(Server):
    """A server on which the adopted participant holds its task already."""

    def __init__(self, run: Run, *tasks: str) -> None:
        super().__init__(*tasks)
        self._run = run

    def _holder(self) -> str:
        return self._run.connection_id


def test_what_works_on_is_watched_and_handed_on_under_its_own_connection(tmp_path: Path) -> None:
    run, gate = run_in(tmp_path), tmp_path / "gate"
    spawn(run, f"while [ ! -e {gate} ]; do sleep 0.02; done; echo done by the first", tmp_path)
    server = Held(run, "task_2")
    stage = Stage(tmp_path, server, "echo the next one", adopted=run)
    assert stage.seat.is_seated  # so that the first heartbeat names it
    stage.wait_for_facts(1)
    assert server.called("claim") == []
    gate.touch()
    handed = server.wait_for("handoff", 2)
    stage.wait_for_facts(4)
    stage.end()
    assert [(body["text"], body["connection_id"], body["attempt"]) for body in handed] == [
        ("done by the first\n", run.connection_id, 1),
        ("the next one\n", run.connection_id, 1),
    ]
    assert server.called("join") == []  # it is the same participant
    assert stage.kinds() == ["started", "exited"] * 2
    assert list(stage.book.read_all()) == []


def test_what_ended_meanwhile_is_handed_in(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    spawn(run, "echo done by the first", tmp_path).wait(PATIENCE_S)
    server = Held(run)
    stage = Stage(tmp_path, server, "true", adopted=run)
    assert server.wait_for("handoff")[0]["text"] == "done by the first\n"
    assert [(fact.id, fact.intended, fact.code) for fact in stage.wait_for_facts(2)[1:]] == [
        (f"exit:task_1.1.{run.connection_id}", True, 0)
    ]
    stage.end()


def test_what_died_meanwhile_is_a_death(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    spawn(run, "echo it broke >&2; exit 7", tmp_path).wait(PATIENCE_S)
    stage = Stage(tmp_path, Held(run), "true", adopted=run)
    assert stage.ended.wait(PATIENCE_S)
    exited = stage.wait_for_facts(2)[1]
    assert (exited.intended, exited.code, "it broke" in (exited.detail or "")) == (False, 7, True)
    assert len(stage.seat.history.ends) == 1


def test_a_run_whose_wrapper_was_killed_is_ended_whole_and_told_as_a_death(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    group = spawn(run, "sleep 1000 & sleep 1000", tmp_path)
    os.kill(group.identity.pid, signal.SIGKILL)
    stage = Stage(tmp_path, Held(run), "true", adopted=run)
    assert stage.ended.wait(PATIENCE_S)
    exited = stage.wait_for_facts(2)[1]
    assert (exited.intended, exited.code, exited.signal) == (False, None, None)
    assert "how the command ended is unknown" in (exited.detail or "")
    assert not kill_leftover(None, marks_of(run.task, run.attempt, run.connection_id))
    assert stage.seat.history.rest == BACKING_OFF


def test_a_run_that_was_never_begun_is_given_back_and_nobody_died(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    server = Held(run, "task_1")
    stage = Stage(tmp_path, server, "cat", adopted=run)
    exited = stage.wait_for_facts(1)[0]
    assert (exited.kind, exited.intended, exited.task) == ("exited", True, "task_1")
    server.wait_for("handoff")  # the role runner goes on, and may get the same task again
    stage.end()
    assert stage.seat.history.ends == ()


def test_no_task_is_asked_for_before_the_server_knows_that_the_last_was_given_back(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    server = Held(run, "task_1")
    stage = Stage(tmp_path, server, "cat", adopted=run, takes_facts=False)
    wait_until(lambda: stage.put != [], "a report is in the outbox")
    assert not threading.Event().wait(0.3)
    assert server.called("claim") == []  # the response would be the very attempt that is being given back
    stage.takes_facts.set()
    server.wait_for("handoff")
    stage.end()


def test_a_later_task_that_cannot_be_started_ends_an_adopted_sitting_too(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    spawn(run, "true", tmp_path).wait(PATIENCE_S)
    (tmp_path / "logs" / "r" / "builder" / "task_2.1").write_text("no folder")
    stage = Stage(tmp_path, Held(run, "task_2"), "cat", adopted=run)
    assert stage.ended.wait(PATIENCE_S)
    assert [fact.intended for fact in stage.wait_for_facts(4)[1:]] == [True, True, False]
    assert stage.seat.history.rest == BACKING_OFF


def test_a_stop_ends_what_was_adopted(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    group = spawn(run, "sleep 1000", tmp_path)
    stage = Stage(tmp_path, Held(run), "true", adopted=run)
    stage.wait_for_facts(1)
    stage.end()
    assert group.wait(PATIENCE_S) is not None
    stage.wait_for_facts(2)
    assert stage.told()[1] == ("exited", True, None, 15)
    assert len(stage.server.called("leave")) == 1


def test_an_adopted_run_that_takes_too_long_is_stopped_by_its_own_beginning(tmp_path: Path) -> None:
    run = run_in(tmp_path, timeout_s=3600.0, began_at=SystemClock().wall() - 3600)
    spawn(run, "sleep 1000", tmp_path)
    stage = Stage(tmp_path, Held(run), "true", adopted=run)
    assert stage.ended.wait(PATIENCE_S)
    assert "did not end within its 3600 s" in (stage.wait_for_facts(2)[1].detail or "")


def test_a_role_that_was_taken_meanwhile_is_yielded_with_what_the_run_had_written(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    spawn(run, "echo half of it; sleep 1000", tmp_path)
    wait_until(lambda: (Path(run.folder) / "stdout").read_text() != "", "the command has written something")
    stage = Stage(tmp_path, Held(run), "true", adopted=run)
    stage.seat.yield_role()  # the verdict of the first heartbeat
    assert stage.ended.wait(PATIENCE_S)
    assert stage.server.called("handoff")[0]["text"] == "half of it\n"
    assert stage.wait_for_facts(2)[1].intended
    assert stage.server.called("leave") == []


def test_until_a_death_is_on_its_way_the_beats_name_the_sitting(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    spawn(run, "exit 7", tmp_path)
    stage = Stage(tmp_path, Held(run), "true", adopted=run)
    assert stage.ended.wait(PATIENCE_S)
    assert stage.put == [("started", True), ("exited", True)]
    assert not stage.seat.is_seated


# Which runs are adopted.


def found(tmp_path: Path) -> tuple[list[Run], list[Fact]]:
    outbox = Outbox(tmp_path / "outbox", 100)
    runs = adoption.take_over(RunBook(tmp_path / "runs"), outbox, MovedClock())
    return runs, outbox.first(100)


def test_each_run_that_was_left_is_carried_on(tmp_path: Path) -> None:
    book = RunBook(tmp_path / "runs")
    runs = [run_in(tmp_path), run_in(tmp_path, "task_2", role="reviewer")]
    for run in runs:
        book.note(run)
    assert found(tmp_path) == (runs, [])
    assert list(book.read_all()) == runs


def test_a_role_has_one_run_and_what_was_before_it_is_over(tmp_path: Path) -> None:
    book = RunBook(tmp_path / "runs")
    later, earlier = run_in(tmp_path, began_at=20.0), run_in(tmp_path, "task_2", began_at=10.0)
    for run in (later, earlier):
        book.note(run)
    runs, told = found(tmp_path)
    assert runs == [later]
    assert [(fact.id, fact.intended) for fact in told] == [(f"exit:task_2.1.{earlier.connection_id}", True)]
    assert list(book.read_all()) == [later]


def test_a_run_whose_end_is_on_its_way_already_ends_once(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    RunBook(tmp_path / "runs").note(run)
    end = Fact(id=id_of("exit", run), kind="exited", room=run.room, role=run.role, connection_id="conn_1")
    Outbox(tmp_path / "outbox", 100).put(end)
    assert found(tmp_path) == ([], [end])
    assert list(RunBook(tmp_path / "runs").read_all()) == []


def test_what_is_let_go_is_told_with_the_wish_and_the_trial_it_ran_under(tmp_path: Path) -> None:
    for run in (run_in(tmp_path), run_in(tmp_path, "task_2", began_at=1.0, trial=True)):
        RunBook(tmp_path / "runs").note(run)
    _, told = found(tmp_path)
    assert [(fact.task, fact.trial, fact.generation) for fact in told] == [("task_2", True, WISH.generation)]


@pytest.mark.parametrize("is_known", [True, False], ids=["pid recorded", "pid not recorded"])
def test_what_cannot_be_carried_on_is_ended_and_told(tmp_path: Path, is_known: bool) -> None:
    run = run_in(tmp_path, wish=None)
    group = spawn(run, "sleep 1000", tmp_path)
    RunBook(tmp_path / "runs").note(msgspec.structs.replace(run, identity=group.identity if is_known else None))
    runs, told = found(tmp_path)
    assert group.wait(PATIENCE_S) is not None
    assert runs == []
    assert [(fact.kind, fact.task, fact.intended, fact.signal) for fact in told] == [("exited", "task_1", False, 9)]
    assert list(RunBook(tmp_path / "runs").read_all()) == []


def test_a_process_that_got_the_number_later_survives(tmp_path: Path) -> None:
    stranger = spawn(
        run_in(tmp_path, connection_id=f"another_{tmp_path.name}_{os.getpid()}"[:64]), "sleep 1000", tmp_path
    )
    boot, _, _ = stranger.identity.started.rpartition(":")
    left = run_in(tmp_path, wish=None, identity=Identity(stranger.identity.pid, f"{boot}:1"))
    RunBook(tmp_path / "runs").note(left)
    _, told = found(tmp_path)
    assert stranger.poll() is None
    assert [fact.signal for fact in told] == [None]
    stranger.stop(PATIENCE_S)
