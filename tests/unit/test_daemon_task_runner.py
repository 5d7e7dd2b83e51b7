from pathlib import Path

import msgspec
import pytest

from greenroom.client.api_client import ApiClient
from greenroom.clock import SystemClock, format_instant, parse_instant
from greenroom.domain.restart_policy import BACKING_OFF, CRASH_LOOPING, PAUSED, YIELDED, RestartHistory
from greenroom.wire.replies import TaskRef
from tests.unit.fake_server import FakeServer, FakeServerTransport
from tests.unit.one_role_daemon import LIMITS, SPEC, OneRoleDaemon
from tests.waiting import PATIENCE_S, wait_until

IN_AN_HOUR = format_instant(int(SystemClock().wall()) + 3600.5)


def test_tasks_run_in_turn_and_are_handed_off(tmp_path: Path) -> None:
    server = FakeServer("task_1", "task_2")
    daemon = OneRoleDaemon(tmp_path, server, 'cat; echo " by $OWN"')
    bodies = server.wait_for("handoff", 2)
    daemon.wait_for_reports(4)
    daemon.stop()
    assert [(body["to"], body["text"]) for body in bodies] == [("reviewer", "build it by own\n")] * 2
    assert daemon.report_fields() == [("started", False, None, None), ("exited", True, 0, None)] * 2
    assert server.bodies("leave")[0]["cause"] == "stopped"
    assert {body["connection_id"] for body in server.bodies("claim")} == {daemon.runner.connection_id}
    wait_until(lambda: list(daemon.records.read_all()) == [], "the record of the run is removed")
    assert daemon.runner.history == RestartHistory(generation=3)


def test_run_environment(tmp_path: Path) -> None:
    server = FakeServer("task_1")
    daemon = OneRoleDaemon(tmp_path, server, "env | grep -E 'GREENROOM|SECRET' | sort")
    bodies = server.wait_for("handoff")
    daemon.stop()
    folder = daemon.logs / "r" / "builder" / "task_1.1"
    assert bodies[0]["text"].splitlines() == [
        "GREENROOM_ATTEMPT=1",
        f"GREENROOM_CONNECTION={daemon.runner.connection_id}",
        f"GREENROOM_NOTES={folder / 'notes'}",
        f"GREENROOM_RESULT={folder / 'result.json'}",
        "GREENROOM_ROLE=builder",
        "GREENROOM_ROOM=r",
        "GREENROOM_TASK=task_1",
        "GREENROOM_TOKEN=token-of-task_1",
        "GREENROOM_URL=http://127.0.0.1:1",
    ]


def test_failure_ends_participant_and_backs_off(tmp_path: Path) -> None:
    server, before = FakeServer("task_1", "task_2"), SystemClock().wall()
    daemon = OneRoleDaemon(tmp_path, server, "echo it broke >&2; exit 7")
    assert daemon.ended.wait(PATIENCE_S)
    started, exited = daemon.wait_for_reports(2)
    assert (started.kind, started.task, started.attempt) == ("started", "task_1", 1)
    assert (exited.intended, exited.code, exited.task, exited.attempt) == (False, 7, "task_1", 1)
    assert "it broke" in (exited.detail or "")
    assert exited.until is not None
    assert parse_instant(exited.until) > before
    assert len(daemon.runner.history.failures) == 1
    assert server.bodies("leave") == []  # the report has ended the participant
    assert server.pending == ["task_2"]  # and no further task is claimed
    assert (daemon.logs / "r" / "builder" / "task_1.1" / "stderr").read_text() == "it broke\n"


def test_killed_run_reports_signal(tmp_path: Path) -> None:
    daemon = OneRoleDaemon(tmp_path, FakeServer("task_1"), "kill -9 $$")
    assert daemon.ended.wait(PATIENCE_S)
    assert daemon.wait_for_reports(2)[1].signal == 9


def test_stop_ends_run_as_intended_and_leaves(tmp_path: Path) -> None:
    server = FakeServer("task_1")
    daemon = OneRoleDaemon(tmp_path, server, "sleep 1000")
    daemon.wait_for_reports(1)
    daemon.stop("desired state is stopped")
    daemon.wait_for_reports(2)
    assert daemon.report_fields() == [("started", False, None, None), ("exited", True, None, 15)]
    assert server.bodies("leave")[0]["reason"] == "desired state is stopped"
    assert server.bodies("handoff") == []
    assert daemon.runner.history == RestartHistory(generation=3)


def test_finish_ends_after_the_run(tmp_path: Path) -> None:
    server = FakeServer("task_1", "task_2")
    daemon = OneRoleDaemon(tmp_path, server, f"while [ ! -e {tmp_path / 'go'} ]; do sleep 0.02; done; echo done")
    daemon.wait_for_reports(1)
    for _ in range(2):
        daemon.runner.finish("the agent spec changed, for the next run")
    assert not daemon.ended.wait(0.2)
    (tmp_path / "go").touch()
    assert daemon.ended.wait(PATIENCE_S)
    assert ["done\n"] == [body["text"] for body in server.bodies("handoff")]
    assert ["the agent spec changed, for the next run"] == [body["reason"] for body in server.bodies("leave")]
    assert (["task_2"], None) == (server.pending, daemon.runner.history.hold)


def test_finish_of_idle_role_leaves(tmp_path: Path) -> None:
    server = FakeServer()
    daemon = OneRoleDaemon(tmp_path, server, "true")
    server.wait_for("claim")
    daemon.runner.finish("the agent spec changed, for the next run")
    assert daemon.ended.wait(PATIENCE_S)
    assert (1, None) == (len(server.bodies("leave")), daemon.runner.history.hold)


@pytest.mark.parametrize("empty", ["ok", "failure"])
def test_run_without_output(tmp_path: Path, empty: str, caplog: pytest.LogCaptureFixture) -> None:
    spec = msgspec.structs.replace(SPEC, empty=empty)
    daemon = OneRoleDaemon(tmp_path, FakeServer("task_1"), "true", spec)
    exited = daemon.wait_for_reports(2)[1]
    assert ("exited", empty == "ok", 0) == (exited.kind, exited.intended, exited.code)
    assert "wrote nothing" in (exited.detail or "")
    daemon.stop()
    assert any(record.levelname == "WARNING" and "wrote nothing" in record.message for record in caplog.records)
    assert (1 if empty == "failure" else 0) == len(daemon.runner.history.failures)


def test_stop_of_idle_role_leaves(tmp_path: Path) -> None:
    server = FakeServer()
    daemon = OneRoleDaemon(tmp_path, server, "true")
    server.wait_for("claim")
    daemon.stop()
    assert daemon.reports == []
    assert len(server.bodies("leave")) == 1


def test_unknown_harness_claims_no_task(tmp_path: Path) -> None:
    server = FakeServer("task_1")
    daemon = OneRoleDaemon(tmp_path, server, "true", msgspec.structs.replace(SPEC, harness="rm"))
    assert daemon.ended.wait(PATIENCE_S)
    report = daemon.wait_for_reports(1)[0]
    assert (report.kind, report.intended, report.task) == ("exited", False, None)
    assert "defines no harness 'rm'" in (report.detail or "")
    assert server.bodies("claim") == []
    assert (daemon.runner.history.hold, daemon.runner.history.failures) == (BACKING_OFF, ())  # this is no failure


def test_task_run_waits_for_server(tmp_path: Path) -> None:
    server = FakeServer("task_1")
    server.is_unreachable = True
    daemon = OneRoleDaemon(tmp_path, server, "cat")
    assert not daemon.ended.wait(0.1)
    server.is_unreachable = False
    server.wait_for("handoff")
    daemon.stop()


def test_taken_role_is_yielded(tmp_path: Path) -> None:
    server = FakeServer("task_1")
    daemon = OneRoleDaemon(tmp_path, server, "sleep 1000")
    daemon.wait_for_reports(1)
    daemon.runner.yield_role()
    assert daemon.ended.wait(PATIENCE_S)
    assert daemon.runner.history.hold == YIELDED
    assert daemon.wait_for_reports(2)[1].intended
    assert server.bodies("leave") == []
    assert [body["if_vacant"] for body in server.bodies("join")] == [True]  # a daemon joins only a vacant role


def test_unanswered_join_is_left_on_stop(tmp_path: Path) -> None:
    server = FakeServer()
    server.loses_response_of = {"join"}
    daemon = OneRoleDaemon(tmp_path, server, "true")
    server.wait_for("join", 2)
    daemon.stop("the agent spec changed")
    assert [body["connection_id"] for body in server.bodies("leave")] == [daemon.runner.connection_id]


def test_renew_claim_drops_old_connections(tmp_path: Path) -> None:
    server = FakeServer()
    daemon = OneRoleDaemon(tmp_path, server, "cat")
    server.wait_for("claim")
    daemon.runner.renew_connections()
    assert [transport.drops for transport in daemon.link.transports] == [1, 1]
    server.wait_for("claim", 2)
    daemon.stop()


def test_missing_program_claims_no_task(tmp_path: Path) -> None:
    server = FakeServer("task_1")
    daemon = OneRoleDaemon(tmp_path, server, "true", environ={"PATH": str(tmp_path)})
    assert [(report.kind, report.task) for report in daemon.wait_for_reports(1)] == [("exited", None)]
    assert "no program 'sh'" in str(daemon.reports[0].detail)
    assert server.bodies("claim") == []


def test_unwritable_run_record_claims_no_task(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("no folder")
    server = FakeServer("task_1")
    daemon = OneRoleDaemon(tmp_path, server, "true")
    assert [(report.kind, report.intended) for report in daemon.wait_for_reports(1)] == [("exited", False)]
    assert "runs" in str(daemon.reports[0].detail)
    assert server.bodies("claim") == [], "the task stays for an agent that can run it"
    assert daemon.ended.wait(PATIENCE_S)
    assert daemon.runner.history.failures == ()


def check_given_back(daemon: OneRoleDaemon) -> None:
    """Check that a task whose run could not start was given back, with a report of the reason, and no failure."""
    given_back, failure = daemon.wait_for_reports(2)
    assert (given_back.kind, given_back.intended, given_back.task) == ("exited", True, "task_1")
    assert (failure.kind, failure.intended, failure.task) == ("exited", False, None)
    assert daemon.ended.wait(PATIENCE_S)
    assert daemon.runner.history.failures == ()


def test_disk_full_before_run_gives_task_back(tmp_path: Path) -> None:
    server = FakeServer()
    daemon = OneRoleDaemon(tmp_path, server, "true")
    server.wait_for("claim")
    (tmp_path / "runs").rmdir()
    (tmp_path / "runs").write_text("no folder")
    server.add_task("task_1")
    check_given_back(daemon)
    assert server.bodies("start") == []


def test_unwritable_log_folder_gives_task_back(tmp_path: Path) -> None:
    server = FakeServer()
    daemon = OneRoleDaemon(tmp_path, server, "true")
    server.wait_for("claim")
    daemon.logs.write_text("no folder")
    server.add_task("task_1")
    check_given_back(daemon)
    assert str(daemon.logs) in str(daemon.reports[1].detail)


def test_disk_full_during_run_keeps_result(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    server = FakeServer("task_1")
    daemon = OneRoleDaemon(tmp_path, server, f"rm -r {runs}; touch {runs}; echo done")
    bodies = server.wait_for("handoff")
    assert [body["text"] for body in bodies] == ["done\n"]
    assert daemon.wait_for_reports(2)[1].intended
    daemon.stop()


def test_superseded_claim_yields(tmp_path: Path) -> None:
    server = FakeServer()
    problem = {"type": "t", "title": "t", "status": 409, "code": "superseded", "detail": "d", "guidance": "g"}
    server.claim_error = (409, problem)
    daemon = OneRoleDaemon(tmp_path, server, "true")
    assert daemon.ended.wait(PATIENCE_S)
    assert daemon.runner.history.hold == YIELDED


def test_forbidden_claim_leaves_without_failure(tmp_path: Path) -> None:
    server = FakeServer()
    problem = {"type": "t", "title": "t", "status": 403, "code": "forbidden", "detail": "d", "guidance": "g"}
    server.claim_error = (403, problem)
    daemon = OneRoleDaemon(tmp_path, server, "true")
    assert daemon.ended.wait(PATIENCE_S)
    assert daemon.reports == []
    assert len(server.bodies("leave")) == 1
    assert daemon.runner.history.hold_until is not None


def test_late_verdict_after_failure_is_no_takeover(tmp_path: Path) -> None:
    daemon = OneRoleDaemon(tmp_path, FakeServer("task_1"), "exit 1")
    assert daemon.ended.wait(PATIENCE_S)
    daemon.runner.yield_role()  # a heartbeat was in flight when the participant ended
    assert daemon.runner.history.hold == BACKING_OFF
    assert len(daemon.runner.history.failures) == 1


def test_lost_presence_beats_and_renews_claim(tmp_path: Path) -> None:
    server = FakeServer()
    problem = {"type": "t", "title": "t", "status": 409, "code": "rejoin_required", "detail": "d", "guidance": "g"}
    server.claim_error = (409, problem)
    daemon = OneRoleDaemon(tmp_path, server, "cat")
    assert daemon.beat_requested.wait(PATIENCE_S)
    server.claim_error = None
    session = ApiClient("http://127.0.0.1:1", None, LIMITS, FakeServerTransport(server))
    daemon.runner.rejoin(session)
    assert {body["connection_id"] for body in server.bodies("join")} == {daemon.runner.connection_id}
    server.add_task("task_1")
    server.wait_for("handoff")
    daemon.stop()


@pytest.mark.parametrize(
    ("status", "is_named", "is_stopped"),
    [("closed", False, True), ("in_progress", False, False), ("in_progress", True, False)],
    ids=["cancelled", "outdated answer", "named"],
)
def test_unnamed_run_is_checked_with_server(tmp_path: Path, status: str, is_named: bool, is_stopped: bool) -> None:
    server = FakeServer("task_1")
    daemon = OneRoleDaemon(tmp_path, server, "trap 'exit 0' TERM; sleep 1000 & wait")
    daemon.wait_for_reports(1)
    server.status["task_1"] = status
    now = SystemClock().boottime()
    daemon.runner.compare_task(None, now - 3600)  # an answer from before the run's start says nothing about the run
    daemon.runner.compare_task(TaskRef("task_1", 1) if is_named else None, now)
    if is_stopped:
        assert daemon.wait_for_reports(2)[1].intended
        server.wait_for("claim", 2)  # the participant stays
    elif not is_named:
        server.wait_for("task_1")  # the server confirmed the task when it was asked
    else:
        assert server.bodies("task_1") == []
    daemon.stop()
    assert len(daemon.wait_for_reports(2)) == 2


def test_failed_start_gives_task_back(tmp_path: Path) -> None:
    server = FakeServer()
    daemon = OneRoleDaemon(tmp_path, server, "true")
    server.wait_for("claim")
    (daemon.logs / "r" / "builder").mkdir(parents=True)
    (daemon.logs / "r" / "builder" / "task_1.1").write_text("not a folder, so the run's files cannot be written")
    server.add_task("task_1")
    check_given_back(daemon)
    assert daemon.runner.history.hold == BACKING_OFF


def test_task_timeout_is_failure(tmp_path: Path) -> None:
    spec = msgspec.structs.replace(SPEC, task_timeout_s=0.3)
    daemon = OneRoleDaemon(tmp_path, FakeServer("task_1"), "sleep 1000", spec)
    assert daemon.ended.wait(PATIENCE_S)
    exited = daemon.wait_for_reports(2)[1]
    assert (exited.intended, exited.signal) == (False, 15)
    assert "did not end within its 0.3 s" in (exited.detail or "")
    assert len(daemon.runner.history.failures) == 1


def test_report_ids_are_stable(tmp_path: Path) -> None:
    daemon = OneRoleDaemon(tmp_path, FakeServer("task_1"), "exit 1")
    assert daemon.ended.wait(PATIENCE_S)
    run = f"task_1.1.{daemon.runner.connection_id}"
    assert [report.id for report in daemon.wait_for_reports(2)] == [f"started:{run}", f"exit:{run}"]
    assert {report.generation for report in daemon.reports} == {3}


# Crash loops and pauses.


def failed_times(count: int) -> RestartHistory:
    """The history of an agent with that many failures, the last one just now."""
    now = SystemClock().boottime()
    return RestartHistory(generation=3, failures=(now,) * count, consecutive=count, last_failure_at=now)


def crash_looping() -> RestartHistory:
    return RestartHistory(generation=3, hold=CRASH_LOOPING, hold_until=0.0, reason="it died too often")


def test_crash_loop_is_reported(tmp_path: Path) -> None:
    before = SystemClock().wall()
    daemon = OneRoleDaemon(
        tmp_path, FakeServer("task_1"), "exit 1", history=failed_times(LIMITS.crash_loop_after_failures - 1)
    )
    assert daemon.ended.wait(PATIENCE_S)
    _, exited, crash_loop = daemon.wait_for_reports(3)
    assert (exited.kind, exited.intended, exited.probe) == ("exited", False, False)
    assert (crash_loop.kind, crash_loop.until, crash_loop.task) == ("crash_looping", exited.until, "task_1")
    assert parse_instant(crash_loop.until or "") >= before + LIMITS.crash_loop_probe_after_s - 0.01
    assert "3 failures" in (crash_loop.detail or "")
    assert daemon.runner.history.hold == CRASH_LOOPING


def test_failed_probe_run_waits_for_user(tmp_path: Path) -> None:
    daemon = OneRoleDaemon(tmp_path, FakeServer("task_1"), "exit 1", history=crash_looping())
    assert daemon.ended.wait(PATIENCE_S)
    _, exited, crash_loop = daemon.wait_for_reports(3)
    assert (exited.probe, exited.until, crash_loop.kind, crash_loop.until) == (True, None, "crash_looping", None)
    assert daemon.runner.history.needs_user


def test_successful_probe_run_recovers(tmp_path: Path) -> None:
    server = FakeServer("task_1", "task_2")
    daemon = OneRoleDaemon(tmp_path, server, "cat", history=crash_looping())
    server.wait_for("handoff", 2)
    daemon.wait_for_reports(5)
    daemon.stop()
    assert daemon.kinds() == ["started", "exited", "recovered", "started", "exited"]
    assert daemon.runner.history == RestartHistory(generation=3)


@pytest.mark.parametrize(
    ("until", "reported"),
    [(IN_AN_HOUR, IN_AN_HOUR), ("9999-12-31T00:00:00.000Z", None), (None, None)],
    ids=["for an hour", "for ever", "login"],
)
def test_limit_result_pauses_without_failure(tmp_path: Path, until: str | None, reported: str | None) -> None:
    status = f'"rate_limited", "until": "{until}"' if until else '"login_required"'
    result = f'{{"status": {status}, "reason": "the month is over"}}'
    daemon = OneRoleDaemon(tmp_path, FakeServer("task_1", "task_2"), f"echo '{result}' > $GREENROOM_RESULT; exit 1")
    assert daemon.ended.wait(PATIENCE_S)
    _, exited, paused = daemon.wait_for_reports(3)
    assert (exited.kind, exited.intended, exited.task) == ("exited", True, "task_1")
    assert (paused.kind, "the month is over" in (paused.detail or "")) == ("paused", True)
    assert (paused.until or "")[:19] == (reported or "")[:19]
    assert (daemon.runner.history.hold, daemon.runner.history.failures) == (PAUSED, ())
    assert daemon.server.bodies("leave") == []  # the report has ended the participant
