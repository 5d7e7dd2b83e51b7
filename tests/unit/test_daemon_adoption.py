"""A daemon adopts the runs of the one before it."""

import os
import signal
import threading
from pathlib import Path

import msgspec
import pytest

from greenroom.client.run_spec import run_marks
from greenroom.clock import SystemClock
from greenroom.daemon import adoption
from greenroom.daemon.agent_reporter import run_report_id
from greenroom.daemon.outbox import Outbox
from greenroom.daemon.run_records import RunRecord, RunRecords
from greenroom.daemon.task_runner import REDACTED
from greenroom.domain.restart_policy import BACKING_OFF
from greenroom.process.identity import ProcessIdentity
from greenroom.process.process_group import ProcessGroup
from greenroom.process.process_tree import end_leftover
from greenroom.testing import MovedClock
from greenroom.wire.requests import AgentReport
from tests.unit.fake_server import FakeServer
from tests.unit.one_role_daemon import SPEC, OneRoleDaemon
from tests.unit.scripted_transport import claimed_task
from tests.waiting import PATIENCE_S, wait_until


def make_run(tmp_path: Path, task: str = "task_1", **more: object) -> RunRecord:
    run = RunRecord(
        task=task,
        attempt=1,
        room=SPEC.room,
        role=SPEC.role,
        connection_id=f"conn_{tmp_path.name}_{os.getpid()}"[:64],
        spec=SPEC,
        claimed=claimed_task(id=task, attempt=1, text=REDACTED, token=REDACTED),
        then="reviewer",
        began_at=SystemClock().wall(),
        folder=str(tmp_path / "logs" / "r" / "builder" / f"{task}.1"),
    )
    return msgspec.structs.replace(run, **more)


def spawn_command(run: RunRecord, script: str, tmp_path: Path) -> ProcessGroup:
    """Start a run's command as a daemon did that was killed afterwards."""
    marks = run_marks(run.task, run.attempt, run.connection_id)
    folder = Path(run.folder)
    folder.mkdir(parents=True)
    group = ProcessGroup.spawn(
        ["sh", "-c", script], tmp_path, {"PATH": os.environ["PATH"], **marks}, b"", folder, marks
    )
    RunRecords(tmp_path / "runs").write(msgspec.structs.replace(run, identity=group.identity))
    return group


class HoldingServer(FakeServer):
    """A server on which the adopted participant holds its task already."""

    def __init__(self, run: RunRecord, *tasks: str) -> None:
        super().__init__(*tasks)
        self._run = run

    def _holder(self) -> str:
        return self._run.connection_id


def test_adopted_run_keeps_connection_and_hands_off(tmp_path: Path) -> None:
    run, gate = make_run(tmp_path), tmp_path / "gate"
    spawn_command(run, f"while [ ! -e {gate} ]; do sleep 0.02; done; echo done by the first", tmp_path)
    server = HoldingServer(run, "task_2")
    daemon = OneRoleDaemon(tmp_path, server, "echo the next one", adopted=run)
    assert daemon.runner.has_joined  # so that the first heartbeat names it
    daemon.wait_for_reports(1)
    assert server.bodies("claim") == []
    gate.touch()
    bodies = server.wait_for("handoff", 2)
    daemon.wait_for_reports(4)
    daemon.stop()
    assert [(body["text"], body["connection_id"], body["attempt"]) for body in bodies] == [
        ("done by the first\n", run.connection_id, 1),
        ("the next one\n", run.connection_id, 1),
    ]
    assert server.bodies("join") == []  # it is the same participant
    assert daemon.kinds() == ["started", "exited"] * 2
    assert list(daemon.records.read_all()) == []


def test_exit_between_daemons_is_handed_off(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    spawn_command(run, "echo done by the first", tmp_path).wait(PATIENCE_S)
    server = HoldingServer(run)
    daemon = OneRoleDaemon(tmp_path, server, "true", adopted=run)
    assert server.wait_for("handoff")[0]["text"] == "done by the first\n"
    assert [(report.id, report.intended, report.code) for report in daemon.wait_for_reports(2)[1:]] == [
        (f"exit:task_1.1.{run.connection_id}", True, 0)
    ]
    daemon.stop()


def test_failure_between_daemons_is_counted(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    spawn_command(run, "echo it broke >&2; exit 7", tmp_path).wait(PATIENCE_S)
    daemon = OneRoleDaemon(tmp_path, HoldingServer(run), "true", adopted=run)
    assert daemon.ended.wait(PATIENCE_S)
    exited = daemon.wait_for_reports(2)[1]
    assert (exited.intended, exited.code, "it broke" in (exited.detail or "")) == (False, 7, True)
    assert len(daemon.runner.history.failures) == 1


def test_run_with_killed_shim_is_stopped_and_failed(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    group = spawn_command(run, "sleep 1000 & sleep 1000", tmp_path)
    os.kill(group.identity.pid, signal.SIGKILL)
    daemon = OneRoleDaemon(tmp_path, HoldingServer(run), "true", adopted=run)
    assert daemon.ended.wait(PATIENCE_S)
    exited = daemon.wait_for_reports(2)[1]
    assert (exited.intended, exited.code, exited.signal) == (False, None, None)
    assert "how the command ended is unknown" in (exited.detail or "")
    assert not end_leftover(None, run_marks(run.task, run.attempt, run.connection_id))
    assert daemon.runner.history.hold == BACKING_OFF


def test_unstarted_run_is_given_back_without_failure(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    server = HoldingServer(run, "task_1")
    daemon = OneRoleDaemon(tmp_path, server, "cat", adopted=run)
    exited = daemon.wait_for_reports(1)[0]
    assert (exited.kind, exited.intended, exited.task) == ("exited", True, "task_1")
    server.wait_for("handoff")  # the role runner goes on, and may get the same task again
    daemon.stop()
    assert daemon.runner.history.failures == ()


def test_claim_waits_until_given_back_is_reported(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    server = HoldingServer(run, "task_1")
    daemon = OneRoleDaemon(tmp_path, server, "cat", adopted=run, accepts_reports=False)
    wait_until(lambda: daemon.queued != [], "a report is in the outbox")
    assert not threading.Event().wait(0.3)
    assert server.bodies("claim") == []  # the response would be the very attempt that is being given back
    daemon.accepts_reports.set()
    server.wait_for("handoff")
    daemon.stop()


def test_failed_start_ends_adopted_participant(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    spawn_command(run, "true", tmp_path).wait(PATIENCE_S)
    (tmp_path / "logs" / "r" / "builder" / "task_2.1").write_text("no folder")
    daemon = OneRoleDaemon(tmp_path, HoldingServer(run, "task_2"), "cat", adopted=run)
    assert daemon.ended.wait(PATIENCE_S)
    assert [report.intended for report in daemon.wait_for_reports(4)[1:]] == [True, True, False]
    assert daemon.runner.history.hold == BACKING_OFF


def test_stop_ends_adopted_run(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    group = spawn_command(run, "sleep 1000", tmp_path)
    daemon = OneRoleDaemon(tmp_path, HoldingServer(run), "true", adopted=run)
    daemon.wait_for_reports(1)
    daemon.stop()
    assert group.wait(PATIENCE_S) is not None
    daemon.wait_for_reports(2)
    assert daemon.report_fields()[1] == ("exited", True, None, 15)
    assert len(daemon.server.bodies("leave")) == 1


def test_adopted_run_timeout_counts_from_its_start(tmp_path: Path) -> None:
    run = make_run(tmp_path, timeout_s=3600.0, began_at=SystemClock().wall() - 3600)
    spawn_command(run, "sleep 1000", tmp_path)
    daemon = OneRoleDaemon(tmp_path, HoldingServer(run), "true", adopted=run)
    assert daemon.ended.wait(PATIENCE_S)
    assert "did not end within its 3600 s" in (daemon.wait_for_reports(2)[1].detail or "")


def test_adopted_run_of_taken_role_is_yielded(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    spawn_command(run, "echo half of it; sleep 1000", tmp_path)
    wait_until(lambda: (Path(run.folder) / "stdout").read_text() != "", "the command has written something")
    daemon = OneRoleDaemon(tmp_path, HoldingServer(run), "true", adopted=run)
    daemon.runner.yield_role()  # the verdict of the first heartbeat
    assert daemon.ended.wait(PATIENCE_S)
    assert daemon.server.bodies("handoff")[0]["text"] == "half of it\n"
    assert daemon.wait_for_reports(2)[1].intended
    assert daemon.server.bodies("leave") == []


def test_beats_name_participant_until_failure_is_in_outbox(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    spawn_command(run, "exit 7", tmp_path)
    daemon = OneRoleDaemon(tmp_path, HoldingServer(run), "true", adopted=run)
    assert daemon.ended.wait(PATIENCE_S)
    assert daemon.queued == [("started", True), ("exited", True)]
    assert not daemon.runner.has_joined


# Which runs are adopted.


def adopt_runs(tmp_path: Path) -> tuple[list[RunRecord], list[AgentReport]]:
    outbox = Outbox(tmp_path / "outbox", 100)
    runs = adoption.adopt_runs(RunRecords(tmp_path / "runs"), outbox, MovedClock())
    return runs, outbox.oldest(100)


def test_recorded_runs_are_adopted(tmp_path: Path) -> None:
    records = RunRecords(tmp_path / "runs")
    runs = [make_run(tmp_path), make_run(tmp_path, "task_2", role="reviewer")]
    for run in runs:
        records.write(run)
    assert adopt_runs(tmp_path) == (runs, [])
    assert list(records.read_all()) == runs


def test_only_newest_run_of_role_is_adopted(tmp_path: Path) -> None:
    records = RunRecords(tmp_path / "runs")
    later, earlier = make_run(tmp_path, began_at=20.0), make_run(tmp_path, "task_2", began_at=10.0)
    for run in (later, earlier):
        records.write(run)
    runs, reports = adopt_runs(tmp_path)
    assert runs == [later]
    assert [(report.id, report.intended) for report in reports] == [(f"exit:task_2.1.{earlier.connection_id}", True)]
    assert list(records.read_all()) == [later]


def test_run_with_waiting_exit_report_is_dropped(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    RunRecords(tmp_path / "runs").write(run)
    end = AgentReport(
        id=run_report_id("exit", run), kind="exited", room=run.room, role=run.role, connection_id="conn_1"
    )
    Outbox(tmp_path / "outbox", 100).add(end)
    assert adopt_runs(tmp_path) == ([], [end])
    assert list(RunRecords(tmp_path / "runs").read_all()) == []


def test_dropped_run_report_has_generation_and_probe(tmp_path: Path) -> None:
    for run in (make_run(tmp_path), make_run(tmp_path, "task_2", began_at=1.0, probe=True)):
        RunRecords(tmp_path / "runs").write(run)
    _, reports = adopt_runs(tmp_path)
    assert [(report.task, report.probe, report.generation) for report in reports] == [("task_2", True, SPEC.generation)]


@pytest.mark.parametrize("is_known", [True, False], ids=["pid recorded", "pid not recorded"])
def test_unadoptable_run_is_killed_and_reported(tmp_path: Path, is_known: bool) -> None:
    run = make_run(tmp_path, spec=None)
    group = spawn_command(run, "sleep 1000", tmp_path)
    RunRecords(tmp_path / "runs").write(msgspec.structs.replace(run, identity=group.identity if is_known else None))
    runs, reports = adopt_runs(tmp_path)
    assert group.wait(PATIENCE_S) is not None
    assert runs == []
    assert [(report.kind, report.task, report.intended, report.signal) for report in reports] == [
        ("exited", "task_1", False, 9)
    ]
    assert list(RunRecords(tmp_path / "runs").read_all()) == []


def test_reused_pid_survives_adoption(tmp_path: Path) -> None:
    unrelated = spawn_command(
        make_run(tmp_path, connection_id=f"another_{tmp_path.name}_{os.getpid()}"[:64]), "sleep 1000", tmp_path
    )
    boot, _, _ = unrelated.identity.started.rpartition(":")
    record = make_run(tmp_path, spec=None, identity=ProcessIdentity(unrelated.identity.pid, f"{boot}:1"))
    RunRecords(tmp_path / "runs").write(record)
    _, reports = adopt_runs(tmp_path)
    assert unrelated.poll() is None
    assert [report.signal for report in reports] == [None]
    unrelated.stop(PATIENCE_S)
