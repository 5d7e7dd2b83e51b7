"""An exit is recorded in several files. A daemon may be killed after each of them; the next one completes the record.

At worst a report is sent twice, with the same id, and the server accepts it once.
"""

import os
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom.client.run_outcome import DONE, PAUSED, RunOutcome
from greenroom.clock import SystemClock, parse_instant
from greenroom.daemon import adoption, outbox, restart_state
from greenroom.daemon.agent_reporter import AgentReporter, participant_report_id
from greenroom.daemon.context import DaemonContext
from greenroom.daemon.harness import HarnessPolicy
from greenroom.daemon.outbox import Outbox
from greenroom.daemon.resident_runner import ResidentRunner
from greenroom.daemon.restart_state import RestartStates
from greenroom.daemon.run_logs import RunLogs
from greenroom.daemon.run_records import Resident, ResidentRecords, RunRecord, RunRecords
from greenroom.domain import restart_policy
from greenroom.domain.restart_policy import CRASH_LOOPING, RestartHistory
from greenroom.domain.restart_policy import PAUSED as PAUSE_HOLD
from greenroom.entropy import SystemEntropy
from greenroom.process.process_group import ExitStatus
from greenroom.wire.requests import AgentReport
from tests.unit.fake_server import FakeServer
from tests.unit.one_role_daemon import LIMITS, SPEC, FakeServerLink, OneRoleDaemon
from tests.unit.test_daemon_adoption import HoldingServer, make_run, spawn_command
from tests.unit.test_daemon_resident import OneResidentDaemon, leave_resident
from tests.unit.test_daemon_task_runner import crash_looping, failed_times
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

BELOW_CRASH_LOOP = LIMITS.crash_loop_after_failures - 1
LOGIN_REQUIRED = """echo '{"status": "login_required"}' > logs/r/builder/task_1.1/result.json; exit 1"""


class DaemonKilled(BaseException):
    """Raised where the daemon is killed."""


ReportFields = list[tuple[str, bool | None, bool | None]]
RecordEnd = Callable[[AgentReporter], object]


def make_context(folder: Path) -> DaemonContext:
    clock, records = SystemClock(), RunRecords(folder / "runs")
    return DaemonContext(
        server_link=FakeServerLink(FakeServer()),
        harness_policy=HarnessPolicy({}, (), folder / "work"),
        outbox=Outbox(folder / "outbox", LIMITS.reports_waiting_max),
        run_records=records,
        run_logs=RunLogs(folder / "logs", 5, 1024 * 1024, records.folders_in_use),
        restart_states=RestartStates(folder / "restart_state.json", "boot", clock, LIMITS),
        clock=clock,
        entropy=SystemEntropy(),
        limits=LIMITS,
        environ={},
        is_connected=lambda: True,
        beat_now=lambda: None,
    )


def read_history(folder: Path) -> RestartHistory:
    return make_context(folder).restart_states.get(SPEC.room, SPEC.role)


def is_killed_after(steps: int, record_end: Callable[[], object]) -> bool:
    """Kill a call after that many files were written or removed; False if the call completed before."""
    steps_left = steps

    def write_or_die(write: Callable[..., None], *arguments: Any) -> None:
        nonlocal steps_left
        if steps_left == 0:
            raise DaemonKilled
        write(*arguments)
        steps_left -= 1

    with pytest.MonkeyPatch.context() as patch:
        for module in (restart_state, outbox):
            patch.setattr(module, "write_record", partial(write_or_die, module.write_record))
        for record_class in (RunRecords, ResidentRecords):
            forget = record_class.remove
            patch.setattr(record_class, "remove", lambda *arguments, forget=forget: write_or_die(forget, *arguments))
        try:
            record_end()
        except DaemonKilled:
            return True
    return False


def accepted_reports(reports: list[AgentReport]) -> ReportFields:
    """What the server accepts of these reports: each id once."""
    accepted = {report.id: report for report in reports if report.kind != "started"}
    return [(report.kind, report.intended, report.probe) for report in accepted.values()]


def reports_of_next_daemon(
    folder: Path, server: Callable[[RunRecord], FakeServer] = HoldingServer
) -> list[AgentReport]:
    """The reports of the next daemon over the same folder. It adopts the runs that are still recorded."""
    outbox, history = make_context(folder).outbox, read_history(folder)
    runs = adoption.adopt_runs(RunRecords(folder / "runs"), outbox, SystemClock())
    if not runs:
        return outbox.oldest(100)
    daemon = OneRoleDaemon(folder, server(runs[0]), "true", adopted=runs[0], history=history)
    wait_until(lambda: daemon.ended.is_set() or bool(daemon.server.bodies("claim")), "the role runner ended or claims")
    daemon.stop()
    wait_until(lambda: not Outbox(folder / "outbox", 100).oldest(1), "the outbox is empty")
    return daemon.reports


def reports_of_next_daemon_of_resident(folder: Path) -> list[AgentReport]:
    outbox, history = make_context(folder).outbox, read_history(folder)
    residents = ResidentRecords(folder / "residents").adopt(
        (), lambda connection: outbox.holds(participant_report_id("exit", connection))
    )
    if not residents:
        return outbox.oldest(100)
    daemon = OneResidentDaemon(folder, FakeServer(), "true", resident=residents[0], history=history)
    assert daemon.ended.wait(PATIENCE_S)
    wait_until(lambda: not Outbox(folder / "outbox", 100).oldest(1), "the outbox is empty")
    return daemon.reports


def make_ended_run(folder: Path, script: str, history: RestartHistory, is_probe_run: bool) -> RunRecord:
    """A run that has ended and is not reported yet."""
    run = make_run(folder, probe=is_probe_run)
    spawn_command(run, script, folder).wait(PATIENCE_S)
    make_context(folder).restart_states.record(SPEC.room, SPEC.role, history)
    return run


def record_failure(run: RunRecord | None, chronicle: AgentReporter) -> None:
    chronicle.report_failure("it broke", run, ExitStatus(7, None))


def record_pause(run: RunRecord, chronicle: AgentReporter) -> None:
    chronicle.report_pause(run, RunOutcome(kind=PAUSED, detail="Its login is needed", exit=ExitStatus(1, None)))


def record_success(run: RunRecord, chronicle: AgentReporter) -> None:
    chronicle.report_run_end(
        run, RunOutcome(kind=DONE, detail="Its output went to reviewer.", exit=ExitStatus(0, None))
    )


def run_reporter(folder: Path, connection_id: str, record_end: RecordEnd, **more: Any) -> None:
    record_end(AgentReporter(make_context(folder), SPEC, connection_id, read_history(folder), **more))


FAILURE_REPORTS = [("exited", False, False)]
CRASH_LOOP_REPORTS = [("exited", False, False), ("crash_looping", False, None)]
PROBE_FAILURE_REPORTS = [("exited", False, True), ("crash_looping", False, None)]


@pytest.mark.parametrize(
    ("script", "failures_before", "is_probe_run", "record_end", "expected", "hold", "failures", "needs_user"),
    [
        ("exit 7", 0, False, record_failure, FAILURE_REPORTS, restart_policy.BACKING_OFF, 1, False),
        (
            "exit 7",
            BELOW_CRASH_LOOP,
            False,
            record_failure,
            CRASH_LOOP_REPORTS,
            CRASH_LOOPING,
            LIMITS.crash_loop_after_failures,
            False,
        ),
        ("exit 7", 0, True, record_failure, PROBE_FAILURE_REPORTS, CRASH_LOOPING, 0, True),
        (
            LOGIN_REQUIRED,
            1,
            False,
            record_pause,
            [("exited", True, None), ("paused", False, None)],
            PAUSE_HOLD,
            1,
            True,
        ),
        ("true", 0, True, record_success, [("exited", True, None), ("recovered", False, None)], None, 0, False),
    ],
    ids=["failed", "crash-looping", "probe run failed", "paused", "probe run succeeded"],
)
def test_killed_daemon_reports_and_counts_each_end_once(
    tmp_path: Path,
    script: str,
    failures_before: int,
    is_probe_run: bool,
    record_end: Callable[[RunRecord, AgentReporter], None],
    expected: ReportFields,
    hold: str | None,
    failures: int,
    needs_user: bool,
) -> None:
    for steps in count():
        folder = tmp_path / f"{tmp_path.name}_{steps}"
        run = make_ended_run(
            folder, script, crash_looping() if is_probe_run else failed_times(failures_before), is_probe_run
        )
        is_killed = is_killed_after(steps, partial(run_reporter, folder, run.connection_id, partial(record_end, run)))
        assert (steps, accepted_reports(reports_of_next_daemon(folder))) == (steps, expected)
        history = read_history(folder)
        assert (steps, history.hold, len(history.failures)) == (steps, hold, failures)
        assert (steps, history.needs_user) == (steps, needs_user)
        assert list(RunRecords(folder / "runs").read_all()) == []
        if not is_killed:
            break
    assert steps == 3, "the restart history, the reports, and the removed record of the run"


def make_ended_resident(folder: Path) -> Callable[[], None]:
    """A resident that has ended and is not reported yet. Returns the call by which its role runner records the end."""
    resident = leave_resident(folder, "exit 7", f"conn_{folder.name}_{os.getpid()}")
    wait_until(lambda: (Path(resident.folder) / "exit.json").exists(), "the resident has ended")
    records, connection_id = ResidentRecords(folder / "residents"), resident.connection_id
    records.write(resident)
    make_context(folder).restart_states.record(SPEC.room, SPEC.role, failed_times(BELOW_CRASH_LOOP))
    return partial(
        run_reporter,
        folder,
        connection_id,
        partial(record_failure, None),
        on_end_safe=lambda: records.remove(connection_id),
    )


def test_killed_daemon_counts_resident_failure_once(tmp_path: Path) -> None:
    for steps in count():
        folder = tmp_path / f"{tmp_path.name}_{steps}"
        is_killed = is_killed_after(steps, make_ended_resident(folder))
        assert (steps, accepted_reports(reports_of_next_daemon_of_resident(folder))) == (steps, CRASH_LOOP_REPORTS)
        history = read_history(folder)
        assert (steps, history.hold, len(history.failures)) == (steps, CRASH_LOOPING, LIMITS.crash_loop_after_failures)
        assert not history.needs_user
        assert read_residents(folder) == []
        if not is_killed:
            break
    assert steps == 3


def read_residents(folder: Path) -> list[Resident]:
    files = (folder / "residents").glob("*.json")
    return [msgspec.json.decode(path.read_bytes(), type=Resident) for path in files]


def test_counted_failure_is_reported_without_its_task(tmp_path: Path) -> None:
    run = make_ended_run(tmp_path, "exit 7", failed_times(BELOW_CRASH_LOOP), is_probe_run=False)
    assert is_killed_after(1, partial(run_reporter, tmp_path, run.connection_id, partial(record_failure, run)))

    def make_server(run: RunRecord) -> FakeServer:
        server = HoldingServer(run)
        server.status[run.task] = "pending"
        return server

    assert accepted_reports(reports_of_next_daemon(tmp_path, make_server)) == CRASH_LOOP_REPORTS
    assert read_history(tmp_path).hold == CRASH_LOOPING


def test_counted_failure_is_reported_for_stopped_resident(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_killed_after(1, make_ended_resident(tmp_path))
    start = ResidentRunner.start

    def stop_at_start(runner: ResidentRunner) -> None:
        runner.stop("desired state is stopped")
        start(runner)

    monkeypatch.setattr(ResidentRunner, "start", stop_at_start)
    assert accepted_reports(reports_of_next_daemon_of_resident(tmp_path)) == CRASH_LOOP_REPORTS


def test_late_handoff_revokes_counted_failure(tmp_path: Path) -> None:
    run = make_ended_run(tmp_path, "true", failed_times(BELOW_CRASH_LOOP), is_probe_run=False)
    assert is_killed_after(1, partial(run_reporter, tmp_path, run.connection_id, partial(record_failure, run)))
    assert read_history(tmp_path).is_probe_run
    assert accepted_reports(reports_of_next_daemon(tmp_path)) == [("exited", True, None)]
    assert not read_history(tmp_path).is_probe_run


def test_failed_start_ends_participant_in_same_file(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    RunRecords(tmp_path / "runs").write(run)
    record_end = partial(
        run_reporter, tmp_path, run.connection_id, lambda it: it.report_not_started("The disk is full.", run)
    )
    assert is_killed_after(2, record_end)
    assert accepted_reports(reports_of_next_daemon(tmp_path)) == [("exited", True, None), ("exited", False, False)]
    assert read_history(tmp_path).hold == restart_policy.BACKING_OFF


def test_recovery_is_reported_once_after_kill(tmp_path: Path) -> None:
    make_context(tmp_path).restart_states.record(SPEC.room, SPEC.role, crash_looping())
    record_end = partial(run_reporter, tmp_path, "conn_1", AgentReporter.record_recovery)
    assert is_killed_after(1, record_end)
    assert read_history(tmp_path).is_probe_run
    assert not is_killed_after(2, record_end)
    assert accepted_reports(make_context(tmp_path).outbox.oldest(100)) == [("recovered", False, None)]
    assert not read_history(tmp_path).is_probe_run


def test_reports_of_one_end_have_same_hold(tmp_path: Path) -> None:
    run = make_ended_run(tmp_path, "exit 7", failed_times(BELOW_CRASH_LOOP), is_probe_run=False)
    before = SystemClock().wall()
    run_reporter(tmp_path, run.connection_id, partial(record_failure, run))
    exited, crash_loop = make_context(tmp_path).outbox.oldest(100)
    assert exited.until == crash_loop.until
    assert parse_instant(str(crash_loop.until)) >= before + LIMITS.crash_loop_probe_after_s - 0.01


def test_undecodable_directory_name_is_reported(tmp_path: Path) -> None:
    name = os.fsdecode(b"odd\xff")
    run_reporter(tmp_path, "conn_1", lambda it: it.report_not_started(f"No agent may work in {name}."))
    run_reporter(tmp_path, "conn_2", lambda it: it.report_intended_end("stopped"))
    assert [report.detail for report in make_context(tmp_path).outbox.oldest(100)] == [
        "No agent may work in odd?.",
        "stopped",
    ]
