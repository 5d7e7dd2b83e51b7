"""The commands by which an agent reports on its task, and what they print."""

import errno
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom.agent import claim_file, connection_file, report
from greenroom.domain.errors import GreenroomError, Unauthorized
from greenroom.domain.task import Note
from greenroom.settings import files
from greenroom.settings.files import write_record
from tests.unit.agent_commands import SHORT_CONTACT_LIMITS, ReportCall, WaitCall
from tests.unit.scripted_transport import claimed_task, heartbeat_reply, json_response, make_task, problem_response
from tests.unit.tiny_server import TinyServer

pytestmark = pytest.mark.usefixtures("no_agent_variables")


def test_report_commands_reach_routes(server: TinyServer, tmp_path: Path) -> None:
    WaitCall(server.url, tmp_path).wait()
    attempt = {"connection_id": dict(server.requests)["POST claim"]["connection_id"], "attempt": 1}
    for verb in ("start", "progress", "decline"):
        server.answers[f"POST {verb}"] = lambda server, body: json_response(make_task())
    report_call = ReportCall(server.url, tmp_path)
    assert 0 == report_call.run(report.run_started)
    assert 0 == report_call.run(report.run_progress, text="half way")
    assert 0 == report_call.run(report.run_decline, text="cannot")
    expected = [
        ("POST start", attempt),
        ("POST progress", attempt | {"text": "half way"}),
        ("POST decline", attempt | {"reason": "cannot"}),
    ]
    assert expected == server.requests[-3:]
    assert "greenroom handoff --to ROLE --task task_1 --attempt 1" in report_call.out.getvalue()


@pytest.mark.parametrize(
    ("function", "options", "verb"),
    [
        (report.run_complete, {"text": "done"}, "complete"),
        (report.run_handoff, {"text": "done", "to": "reviewer"}, "handoff"),
        (report.run_decline, {"text": "cannot"}, "decline"),
    ],
)
def test_final_report_finishes_claim_and_participant(
    server: TinyServer, tmp_path: Path, function: Any, options: dict[str, Any], verb: str
) -> None:
    call = WaitCall(server.url, tmp_path)
    call.wait()
    server.answers[f"POST {verb}"] = lambda server, body: json_response(
        make_task(status="completed", handed_to="reviewer")
    )
    report_call = ReportCall(server.url, tmp_path)
    assert 0 == report_call.run(function, **options)
    assert [claim_file.FINISHED] == [claim.state for claim in call.claims()]
    assert connection_file.FINISHED == call.participant_file().state
    assert "greenroom wait-for-task demo --role builder" in report_call.out.getvalue()


def test_repeated_result_is_idempotent(server: TinyServer, tmp_path: Path) -> None:
    call = WaitCall(server.url, tmp_path)
    call.wait()
    server.answers["POST complete"] = lambda server, body: json_response(make_task(status="completed", result="done"))
    report_call = ReportCall(server.url, tmp_path)
    assert 0 == report_call.run(report.run_complete, text="done")
    write_record(
        call.files("connections")[0],
        msgspec.structs.replace(call.participant_file(), state=connection_file.TASK_PRINTED),
    )
    assert 0 == report_call.run(report.run_complete, task="task_1", attempt=1, text="done")
    assert connection_file.TASK_PRINTED == call.participant_file().state, (
        "the participant may have its next task by now"
    )
    for function in (report.run_started, report.run_progress):
        assert 4 == report_call.run(function, task="task_1", attempt=1, text="more")
    assert 2 == sum(key == "POST complete" for key, _ in server.requests)
    assert "POST complete" == server.requests[-1][0], "a report on a finished task is not sent"
    assert "was kept as well" not in report_call.err.getvalue()
    assert 0 == report_call.run(report.run_complete, task="task_1", attempt=1, text="something else")
    assert "already had a result, which counts; this one was kept as well" in report_call.err.getvalue()


def test_note_is_shown_once(server: TinyServer, tmp_path: Path) -> None:
    notes = tuple(
        Note(attempt=attempt, by="operator", text=text, at="2026-11-20T23:46:34.120Z")
        for attempt, text in ((None, "mind the cat"), (1, "make it\nblue"))
    )
    server.answers["POST claim"] = lambda server, body: json_response(claimed_task(notes=notes[:1]))
    call = WaitCall(server.url, tmp_path)
    call.wait()
    assert "A note by operator, at 2026-11-20T23:46:34.120Z:\n  mind the cat\n" in call.out.getvalue()
    server.answers["POST progress"] = lambda server, body: json_response(make_task(notes=notes))
    first, second = ReportCall(server.url, tmp_path), ReportCall(server.url, tmp_path)
    first.run(report.run_progress, text="x")
    second.run(report.run_progress, text="x", json=True)
    assert "  make it\n  blue\n" in first.out.getvalue()
    assert "mind the cat" not in first.out.getvalue()
    assert [] == msgspec.json.decode(second.out.getvalue())["notes"]


def test_late_result_is_kept_and_announced(server: TinyServer, tmp_path: Path) -> None:
    call = WaitCall(server.url, tmp_path)
    call.wait()
    server.answers["POST progress"] = server.answers["POST complete"] = lambda server, body: problem_response(
        "superseded"
    )
    report_call = ReportCall(server.url, tmp_path)
    assert 4 == report_call.run(report.run_progress, text="half way")
    assert 1 == len(call.files("claims")), "the result can still be submitted"
    assert 4 == report_call.run(report.run_complete, text="done")
    assert "kept as a late result of task_1" in report_call.err.getvalue()
    assert [claim_file.FINISHED] == [claim.state for claim in call.claims()]
    assert 4 == report_call.run(report.run_complete, task="task_1", text="done"), "a repeated call gets the same answer"
    assert 2 == report_call.run(report.run_complete, text="done"), "no open task is held any more"


def test_ended_attempt_is_conflict(server: TinyServer, tmp_path: Path) -> None:
    WaitCall(server.url, tmp_path).wait()
    for verb in ("start", "progress", "decline"):
        server.answers[f"POST {verb}"] = lambda server, body: problem_response(
            "forbidden", "This token is not good for that."
        )
    for function in (report.run_started, report.run_progress, report.run_decline):
        report_call = ReportCall(server.url, tmp_path)
        assert 4 == report_call.run(function, task="task_1", attempt=1, text="I have no key")
        assert "Attempt 1 at task_1 is over" in report_call.err.getvalue()
        assert "Stop working on" in report_call.err.getvalue()
        assert "not good for that" not in report_call.err.getvalue()
    assert "I have no key" == next((tmp_path / "claims").rglob("*.decline.txt")).read_text(), "this is the only copy"


def test_token_of_other_server_is_unauthorized(server: TinyServer, tmp_path: Path) -> None:
    WaitCall(server.url, tmp_path).wait()
    server.answers["POST complete"] = lambda server, body: problem_response(
        "unauthorized", "This token is not known here."
    )
    with pytest.raises(Unauthorized) as caught:
        ReportCall(server.url, tmp_path).run(report.run_complete, text="a day's work")
    draft = next((tmp_path / "claims").rglob("*.txt"))
    assert "a day's work" == draft.read_text()
    assert f"- < {draft}" in caught.value.guidance


def test_result_not_kept_by_server_stays_in_file(server: TinyServer, tmp_path: Path) -> None:
    WaitCall(server.url, tmp_path).wait()
    server.answers["POST complete"] = lambda server, body: problem_response("not_kept", "Attempt 1 no longer counts.")
    report_call = ReportCall(server.url, tmp_path)
    assert 4 == report_call.run(report.run_complete, text="a day's work")
    assert "kept as a late result" not in report_call.err.getvalue()
    assert "a day's work" == next((tmp_path / "claims").rglob("*.txt")).read_text()


@pytest.mark.parametrize("verdict", ["superseded", "ok", "rejoin_required"])
def test_leave_is_sent_only_when_superseded(server: TinyServer, tmp_path: Path, verdict: str) -> None:
    WaitCall(server.url, tmp_path).wait()
    server.answers["POST complete"] = lambda server, body: problem_response("superseded")
    server.answers["POST heartbeat"] = lambda server, body: json_response(heartbeat_reply(verdict))
    report_call = ReportCall(server.url, tmp_path)
    assert 4 == report_call.run(report.run_complete, text="done")
    assert ("POST leave" in server.request_keys()) is (verdict == "superseded")
    assert ("next, for another task: greenroom wait-for-task demo" in report_call.err.getvalue()) is (
        verdict != "superseded"
    )


def test_text_without_server_is_kept_in_file(server: TinyServer, tmp_path: Path) -> None:
    call = WaitCall(server.url, tmp_path)
    call.wait()
    server.answers["POST handoff"] = lambda server, body: None
    report_call = ReportCall(server.url, tmp_path, SHORT_CONTACT_LIMITS)
    assert 69 == report_call.run(report.run_handoff, text="a day's work", to="reviewer")
    draft = next(path for path in call.files("claims") if path.suffix == ".txt")
    assert "a day's work" == draft.read_text()
    assert 0o600 == draft.stat().st_mode & 0o777
    assert (
        f"greenroom handoff --to reviewer --task task_1 --attempt 1 --data-dir {tmp_path} - < {draft}"
        in report_call.err.getvalue()
    )
    bodies = [body for key, body in server.requests if key == "POST handoff"]
    assert len(bodies) >= 2, "it is retried first"
    server.answers["POST handoff"] = lambda server, body: json_response(make_task(status="completed"))
    assert 0 == ReportCall(server.url, tmp_path).run(report.run_handoff, text="a day's work", to="reviewer")
    assert [".json"] == [path.suffix for path in call.files("claims")]


def test_unwritable_files_do_not_fail_report(
    server: TinyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, text: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    call = WaitCall(server.url, tmp_path)
    call.wait()
    server.answers["POST complete"] = lambda server, body: json_response(make_task(status="completed"))
    monkeypatch.setattr(files, "write_text", refuse)
    monkeypatch.setattr(report, "write_text", refuse)
    server.answers["POST handoff"] = lambda server, body: None
    report_call = ReportCall(server.url, tmp_path, SHORT_CONTACT_LIMITS)
    assert 69 == report_call.run(report.run_handoff, text="a day's work", to="reviewer")
    assert "Keep a copy of it" in report_call.err.getvalue()
    assert 0 == ReportCall(server.url, tmp_path).run(report.run_complete, text="done")


def test_report_without_claim_is_usage_error(server: TinyServer, tmp_path: Path) -> None:
    report_call = ReportCall(server.url, tmp_path)
    assert 2 == report_call.run(report.run_started)
    assert "greenroom wait-for-task" in report_call.err.getvalue()
    assert [] == server.requests


def test_task_process_needs_no_claim_file(server: TinyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TASK": "task_7", "ATTEMPT": "2", "CONNECTION": "conn_7", "TOKEN": "seven"}.items():
        monkeypatch.setenv(f"GREENROOM_{name}", value)
    server.answers["POST complete"] = lambda server, body: json_response(make_task(status="completed"))
    report_call = ReportCall(server.url, tmp_path)
    assert 0 == report_call.run(report.run_complete, text="done")
    assert {"connection_id": "conn_7", "attempt": 2, "text": "done"} == server.requests[-1][1]
    assert "wait-for-task" not in report_call.out.getvalue()


def test_other_errors_are_raised(server: TinyServer, tmp_path: Path) -> None:
    WaitCall(server.url, tmp_path).wait()
    server.answers["POST handoff"] = lambda server, body: problem_response("invalid_request", "No such role.")
    with pytest.raises(GreenroomError, match="No such role") as caught:
        ReportCall(server.url, tmp_path).run(report.run_handoff, text="x", to="nobody")
    assert "handoff --to ROLE --task task_1 --attempt 1" in caught.value.guidance
    assert "x" == next((tmp_path / "claims").rglob("*.handoff.txt")).read_text()
