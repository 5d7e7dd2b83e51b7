"""The runner of a resident, between a fake server and real processes."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom.clock import SystemClock, parse_instant
from greenroom.daemon.context import DaemonContext
from greenroom.daemon.resident_runner import ResidentRunner
from greenroom.daemon.run_records import Resident, ResidentRecords, RunRecord, resident_marker_variables
from greenroom.domain import restart_policy
from greenroom.domain.restart_policy import BACKING_OFF, CRASH_LOOPING, PAUSED, YIELDED, RestartHistory
from greenroom.process.identity import is_alive
from greenroom.process.process_group import ProcessGroup
from greenroom.process.run_folder import read_command, read_shim
from greenroom.wire.replies import Assignment, JoinReply, TaskRef
from tests.unit.fake_server import FakeServer
from tests.unit.one_role_daemon import LIMITS, SPEC, OneRoleDaemon
from tests.unit.scripted_transport import join_reply, json_response
from tests.waiting import PATIENCE_S, wait_until

RESIDENT_SCRIPT = "echo here; sleep 1000 & wait"


class OneResidentDaemon(OneRoleDaemon):
    """A daemon with one role, whose agent is a resident."""

    runner: ResidentRunner

    def __init__(
        self, tmp_path: Path, server: FakeServer, script: str, resident: Resident | None = None, **more: Any
    ) -> None:
        self.residents = ResidentRecords(tmp_path / "residents")
        self.resident = resident
        self.script = script
        self.reset_s = more.pop("reset_s", LIMITS.restart_reset_s)
        super().__init__(tmp_path, server, script, **more)

    def make_runner(
        self, premises: DaemonContext, spec: Assignment, history: RestartHistory, adopted: RunRecord | None
    ) -> ResidentRunner:
        limits = msgspec.structs.replace(LIMITS, restart_reset_s=self.reset_s)
        return ResidentRunner(
            replace(premises, limits=limits), self.residents, spec, history, self.ended.set, self.resident
        )

    @property
    def folder(self) -> Path:
        return self.logs / "r" / "builder" / f"{self.runner.connection_id}.1"

    def recorded_residents(self) -> list[Resident]:
        paths = sorted((self.logs.parent / "residents").glob("*.json"))
        return [msgspec.json.decode(path.read_bytes(), type=Resident) for path in paths]


def test_resident_runs_until_stop_with_descendants(tmp_path: Path) -> None:
    server = FakeServer()
    daemon = OneResidentDaemon(tmp_path, server, RESIDENT_SCRIPT)
    daemon.wait_for_reports(1)
    assert daemon.runner.has_joined
    assert [daemon.runner.connection_id] == [resident.connection_id for resident in daemon.recorded_residents()]
    command = read_command(daemon.folder)
    assert command is not None
    daemon.stop("desired state is stopped")
    daemon.wait_for_reports(2)
    assert [("started", False), ("exited", True)] == [(report.kind, report.intended) for report in daemon.reports]
    assert [f"started:{daemon.runner.connection_id}", f"exit:{daemon.runner.connection_id}"] == [
        report.id for report in daemon.reports
    ]
    assert {None} == {report.task for report in daemon.reports}
    assert not is_alive(command)
    assert "desired state is stopped" == server.bodies("leave")[0]["reason"]
    assert [] == server.bodies("claim"), "the resident claims its tasks itself"
    assert [] == daemon.recorded_residents()
    assert RestartHistory(generation=3) == daemon.runner.history


def test_resident_finishes_its_task(tmp_path: Path) -> None:
    daemon = OneResidentDaemon(tmp_path, FakeServer(), RESIDENT_SCRIPT)
    daemon.wait_for_reports(1)
    clock, task = SystemClock(), TaskRef("task_1", 1)
    asked_before = clock.boottime()
    daemon.runner.compare_task(task, asked_before)
    daemon.runner.finish("the agent spec changed, for the next run")
    assert daemon.beat_requested.is_set()
    daemon.runner.compare_task(None, asked_before)
    daemon.runner.compare_task(task, clock.boottime())
    assert not daemon.ended.wait(0.3), "the answer to an earlier heartbeat shows nothing; by the newest it is at work"
    daemon.runner.compare_task(None, clock.boottime())
    assert daemon.ended.wait(PATIENCE_S)
    assert ("exited", True) == (daemon.wait_for_reports(2)[1].kind, daemon.reports[1].intended)


def test_resident_that_goes_on_with_another_task_is_stopped(tmp_path: Path) -> None:
    daemon = OneResidentDaemon(tmp_path, FakeServer(), RESIDENT_SCRIPT)
    daemon.wait_for_reports(1)
    clock = SystemClock()
    daemon.runner.compare_task(TaskRef("task_1", 1), clock.boottime())
    daemon.runner.finish("the agent spec changed, for the next run")
    daemon.runner.compare_task(TaskRef("task_2", 1), clock.boottime())
    assert daemon.ended.wait(PATIENCE_S)


def test_resident_environment(tmp_path: Path) -> None:
    daemon = OneResidentDaemon(tmp_path, FakeServer(), "env | grep -E 'GREENROOM|SECRET' | sort; exit 3")
    assert daemon.ended.wait(PATIENCE_S)
    assert [
        f"GREENROOM_CONNECTION={daemon.runner.connection_id}",
        f"GREENROOM_DATA_DIR={daemon.folder / 'agent'}",
        f"GREENROOM_RESULT={daemon.folder / 'result.json'}",
        "GREENROOM_ROLE=builder",
        "GREENROOM_ROOM=room_1",
        "GREENROOM_TOKEN=of-the-role",
        "GREENROOM_URL=http://127.0.0.1:1",
    ] == (daemon.folder / "stdout").read_text().splitlines()


@pytest.mark.parametrize(
    ("script", "code", "signal"), [("exit 0", 0, None), ("exit 7", 7, None), ("kill -9 $$", None, 9)]
)
def test_resident_exit_is_unintended(tmp_path: Path, script: str, code: int | None, signal: int | None) -> None:
    server = FakeServer()
    daemon = OneResidentDaemon(tmp_path, server, f"echo it broke >&2; {script}")
    assert daemon.ended.wait(PATIENCE_S)
    _, exited = daemon.wait_for_reports(2)
    assert ("exited", False, code, signal) == (exited.kind, exited.intended, exited.code, exited.signal)
    assert "it broke" in str(exited.detail)
    assert exited.until is not None
    assert BACKING_OFF == daemon.runner.history.hold
    assert 1 == len(daemon.runner.history.failures)
    assert [] == server.bodies("leave"), "the report has ended the participant"
    assert [] == daemon.recorded_residents()


def test_limit_result_pauses_resident(tmp_path: Path) -> None:
    result = '{"status": "login_required", "reason": "log in again"}'
    daemon = OneResidentDaemon(tmp_path, FakeServer(), f"echo '{result}' > $GREENROOM_RESULT; exit 1")
    assert daemon.ended.wait(PATIENCE_S)
    daemon.wait_for_reports(3)
    assert ["started", "exited", "paused"] == daemon.kinds()
    assert (True, None) == (daemon.reports[1].intended, daemon.reports[2].until)
    assert "log in again" in str(daemon.reports[2].detail)
    assert (PAUSED, ()) == (daemon.runner.history.hold, daemon.runner.history.failures)


def test_past_limit_pauses_briefly(tmp_path: Path) -> None:
    result, before = '{"status": "rate_limited", "until": "2020-01-01T00:00:00Z"}', SystemClock().wall()
    daemon = OneResidentDaemon(tmp_path, FakeServer(), f"echo '{result}' > $GREENROOM_RESULT; exit 1")
    assert daemon.ended.wait(PATIENCE_S)
    daemon.wait_for_reports(3)
    assert PAUSED == daemon.runner.history.hold
    assert parse_instant(str(daemon.reports[2].until)) > before + 1


def test_long_lived_probe_run_recovers(tmp_path: Path) -> None:
    history = RestartHistory(generation=3, hold=CRASH_LOOPING, hold_until=1.0, failures=(0.0, 0.5, 1.0))
    daemon = OneResidentDaemon(tmp_path, FakeServer(), RESIDENT_SCRIPT, history=history, reset_s=0.3)
    daemon.wait_for_reports(2)
    assert ["started", "recovered"] == daemon.kinds()
    assert not daemon.runner.history.is_probe_run
    daemon.stop()


def test_failed_probe_run_waits_for_user(tmp_path: Path) -> None:
    history = RestartHistory(generation=3, hold=CRASH_LOOPING, hold_until=1.0, failures=(0.0, 0.5, 1.0))
    daemon = OneResidentDaemon(tmp_path, FakeServer(), "exit 1", history=history)
    daemon.wait_for_reports(3)
    assert ["started", "exited", "crash_looping"] == daemon.kinds()
    assert (True, None) == (daemon.reports[1].probe, daemon.reports[2].until)
    assert daemon.ended.wait(PATIENCE_S)
    assert daemon.runner.history.needs_user


def test_task_timeout_is_failure(tmp_path: Path) -> None:
    spec = msgspec.structs.replace(SPEC, task_timeout_s=0.5)
    daemon = OneResidentDaemon(tmp_path, FakeServer(), RESIDENT_SCRIPT, spec=spec)
    daemon.wait_for_reports(1)
    assert not daemon.ended.wait(0.7), "a resident without a task has no time limit"
    daemon.runner.compare_task(TaskRef("task_1", 1), 0.0)
    daemon.runner.compare_task(TaskRef("task_1", 1), 0.0)
    assert daemon.ended.wait(PATIENCE_S)
    assert (False, "Task task_1 was not done within 0.5 s, so its agent was stopped.") == (
        daemon.reports[1].intended,
        daemon.reports[1].detail,
    )
    assert 1 == len(daemon.runner.history.failures)


def test_missing_program_starts_nothing(tmp_path: Path) -> None:
    server = FakeServer()
    daemon = OneResidentDaemon(tmp_path, server, "true", environ={"PATH": str(tmp_path)})
    assert daemon.ended.wait(PATIENCE_S)
    [report] = daemon.wait_for_reports(1)
    assert ("exited", False) == (report.kind, report.intended)
    assert "no program 'sh'" in str(report.detail)
    assert (BACKING_OFF, ()) == (daemon.runner.history.hold, daemon.runner.history.failures), "this is no failure"
    assert [] == server.bodies("token")


def test_unwritable_log_folder_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("no folder")
    daemon = OneResidentDaemon(tmp_path, FakeServer(), RESIDENT_SCRIPT)
    assert daemon.ended.wait(PATIENCE_S)
    [report] = daemon.wait_for_reports(1)
    assert str(daemon.logs) in str(report.detail)
    assert (BACKING_OFF, ()) == (daemon.runner.history.hold, daemon.runner.history.failures)


def test_resident_yields_taken_role(tmp_path: Path) -> None:
    server = FakeServer()
    daemon = OneResidentDaemon(tmp_path, server, RESIDENT_SCRIPT)
    daemon.wait_for_reports(1)
    daemon.runner.yield_role()
    assert daemon.ended.wait(PATIENCE_S)
    assert daemon.wait_for_reports(2)[1].intended
    assert YIELDED == daemon.runner.history.hold
    assert [] == server.bodies("leave")


def test_exit_after_unseen_takeover_is_intended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeServer()
    original_answer = server.answer
    joins: list[JoinReply] = [join_reply(), join_reply(status="superseded")]

    def answer_superseded(path: str, body: Any, is_dropped: Any) -> Any:
        response = original_answer(path, body, is_dropped)
        return json_response(joins.pop(0)) if path.endswith("/join") else response

    monkeypatch.setattr(server, "answer", answer_superseded)
    daemon = OneResidentDaemon(tmp_path, server, "exit 9")
    assert daemon.ended.wait(PATIENCE_S)
    assert daemon.wait_for_reports(2)[1].intended
    assert (YIELDED, ()) == (daemon.runner.history.hold, daemon.runner.history.failures)


def test_resident_start_waits_for_server(tmp_path: Path) -> None:
    server = FakeServer()
    server.is_unreachable = True
    daemon = OneResidentDaemon(tmp_path, server, RESIDENT_SCRIPT)
    assert not daemon.ended.wait(0.1)
    server.is_unreachable = False
    daemon.wait_for_reports(1)
    daemon.stop()


LEFT_CONNECTION = f"conn_left_{os.getpid()}"
"""Processes are found by their connection, so that each test process needs a connection of its own."""


def leave_resident(tmp_path: Path, script: str, connection_id: str = LEFT_CONNECTION) -> Resident:
    """Start a resident process as a killed daemon leaves it behind."""
    folder = tmp_path / "logs" / "r" / "builder" / f"{connection_id}.1"
    marks = resident_marker_variables(connection_id)
    ProcessGroup.spawn(("sh", "-c", script), Path("/"), {"PATH": os.environ["PATH"], **marks}, b"", folder, marks)
    return Resident(connection_id=connection_id, spec=SPEC, folder=str(folder), began_at=SystemClock().wall())


def test_adopted_resident_keeps_running(tmp_path: Path) -> None:
    server = FakeServer()
    resident = leave_resident(tmp_path, RESIDENT_SCRIPT)
    shim = read_shim(Path(resident.folder))
    assert shim is not None
    daemon = OneResidentDaemon(tmp_path, server, "exit 1", resident=resident)
    assert daemon.runner.has_joined
    assert LEFT_CONNECTION == daemon.runner.connection_id
    daemon.wait_for_reports(1)
    assert is_alive(shim)
    assert [] == server.bodies("join")
    daemon.stop()
    assert not is_alive(shim)
    assert [f"started:{LEFT_CONNECTION}", f"exit:{LEFT_CONNECTION}"] == [
        report.id for report in daemon.wait_for_reports(2)
    ]


def test_unobserved_resident_exit_is_reported(tmp_path: Path) -> None:
    resident = leave_resident(tmp_path, "exit 5")
    wait_until(lambda: (Path(resident.folder) / "exit.json").exists(), "the resident has ended")
    daemon = OneResidentDaemon(tmp_path, FakeServer(), "true", resident=resident)
    assert daemon.ended.wait(PATIENCE_S)
    exited = daemon.wait_for_reports(2)[1]
    assert (f"exit:{LEFT_CONNECTION}", False, 5) == (exited.id, exited.intended, exited.code)


def test_unstarted_resident_is_no_failure(tmp_path: Path) -> None:
    resident = Resident(
        connection_id=LEFT_CONNECTION, spec=SPEC, folder=str(tmp_path / "nothing"), began_at=SystemClock().wall()
    )
    server = FakeServer()
    daemon = OneResidentDaemon(tmp_path, server, "true", resident=resident)
    assert daemon.ended.wait(PATIENCE_S)
    assert [("exited", True)] == [(report.kind, report.intended) for report in daemon.wait_for_reports(1)]
    assert [LEFT_CONNECTION] == [body["connection_id"] for body in server.bodies("leave")]
    assert restart_policy.RestartHistory(generation=3) == daemon.runner.history


def test_newest_resident_of_role_is_adopted(tmp_path: Path) -> None:
    records = ResidentRecords(tmp_path / "residents")
    older, newer = (
        leave_resident(tmp_path, RESIDENT_SCRIPT, f"{LEFT_CONNECTION}_{name}") for name in ("older", "newer")
    )
    elsewhere = msgspec.structs.replace(
        leave_resident(tmp_path, RESIDENT_SCRIPT, f"{LEFT_CONNECTION}_elsewhere"),
        spec=msgspec.structs.replace(SPEC, role="reviewer"),
    )
    for resident in (newer, older, elsewhere):
        records.write(resident)
    (tmp_path / "residents" / "odd.json").write_text("{}")
    assert [newer] == records.adopt({("room_1", "reviewer")}, lambda _: False)
    assert [False, True, False] == [is_alive(shim_identity(resident)) for resident in (older, newer, elsewhere)]
    assert [f"{newer.connection_id}.json", "odd.unreadable"] == sorted(
        path.name for path in (tmp_path / "residents").iterdir()
    )
    ProcessGroup.adopt(Path(newer.folder), newer.marker_variables).stop(0)  # type: ignore[union-attr]


def shim_identity(resident: Resident) -> Any:
    return read_shim(Path(resident.folder))
