"""The commands by which an agent reports on its task, and what they print."""

import errno
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom.agent import claim_file, report, sitting_file
from greenroom.domain.errors import GreenroomError, Unauthorized
from greenroom.domain.task import Note
from greenroom.settings import private_file
from greenroom.settings.private_file import write_record
from tests.unit.calling import GIVES_UP_SOON, Call, Said
from tests.unit.scripted import answer, beaten, claimed, refusal, task_of
from tests.unit.tiny_server import TinyServer

pytestmark = pytest.mark.usefixtures("no_harness")


def test_each_word_of_an_agent_reaches_its_route(server: TinyServer, tmp_path: Path) -> None:
    Call(server.url, tmp_path).wait()
    on = {"connection_id": dict(server.seen)["POST claim"]["connection_id"], "attempt": 1}
    for verb in ("start", "progress", "decline"):
        server.answers[f"POST {verb}"] = lambda server, body: answer(task_of())
    said = Said(server.url, tmp_path)
    assert 0 == said.say(report.run_started)
    assert 0 == said.say(report.run_progress, text="half way")
    assert 0 == said.say(report.run_decline, text="cannot")
    expected = [
        ("POST start", on),
        ("POST progress", on | {"text": "half way"}),
        ("POST decline", on | {"reason": "cannot"}),
    ]
    assert expected == server.seen[-3:]
    assert "greenroom handoff --to ROLE --task task_1 --attempt 1" in said.out.getvalue()


@pytest.mark.parametrize(
    ("function", "given", "verb"),
    [
        (report.run_complete, {"text": "done"}, "complete"),
        (report.run_handoff, {"text": "done", "to": "reviewer"}, "handoff"),
        (report.run_decline, {"text": "cannot"}, "decline"),
    ],
)
def test_the_end_of_a_task_finishes_its_claim_and_the_sitting(
    server: TinyServer, tmp_path: Path, function: Any, given: dict[str, Any], verb: str
) -> None:
    call = Call(server.url, tmp_path)
    call.wait()
    server.answers[f"POST {verb}"] = lambda server, body: answer(task_of(status="completed", handed_to="reviewer"))
    said = Said(server.url, tmp_path)
    assert 0 == said.say(function, **given)
    assert [claim_file.FINISHED] == [claim.state for claim in call.claims()]
    assert sitting_file.FINISHED == call.sitting().state
    assert "greenroom wait-for-task demo --role builder" in said.out.getvalue()


def test_a_result_that_is_said_twice_is_answered_twice_and_disturbs_nothing(server: TinyServer, tmp_path: Path) -> None:
    call = Call(server.url, tmp_path)
    call.wait()
    server.answers["POST complete"] = lambda server, body: answer(task_of(status="completed", result="done"))
    said = Said(server.url, tmp_path)
    assert 0 == said.say(report.run_complete, text="done")
    write_record(call.files("sittings")[0], msgspec.structs.replace(call.sitting(), state=sitting_file.HANDED))
    assert 0 == said.say(report.run_complete, task="task_1", attempt=1, text="done")
    assert sitting_file.HANDED == call.sitting().state, "the participant may have its next task by now"
    for function in (report.run_started, report.run_progress):
        assert 4 == said.say(function, task="task_1", attempt=1, text="more")
    assert 2 == sum(key == "POST complete" for key, _ in server.seen)
    assert "POST complete" == server.seen[-1][0], "a report on a finished task is not sent"
    assert "kept beside it" not in said.err.getvalue()
    assert 0 == said.say(report.run_complete, task="task_1", attempt=1, text="something else")
    assert "had another result, which counts; this one was kept beside it" in said.err.getvalue()


def test_a_note_is_shown_once_with_the_next_answer(server: TinyServer, tmp_path: Path) -> None:
    notes = tuple(
        Note(attempt=attempt, by="operator", text=text, at="2026-11-20T23:46:34.120Z")
        for attempt, text in ((None, "mind the cat"), (1, "make it\nblue"))
    )
    server.answers["POST claim"] = lambda server, body: answer(claimed(notes=notes[:1]))
    call = Call(server.url, tmp_path)
    call.wait()
    assert "A note by operator, at 2026-11-20T23:46:34.120Z:\n  mind the cat\n" in call.out.getvalue()
    server.answers["POST progress"] = lambda server, body: answer(task_of(notes=notes))
    first, second = Said(server.url, tmp_path), Said(server.url, tmp_path)
    first.say(report.run_progress, text="x")
    second.say(report.run_progress, text="x", json=True)
    assert "  make it\n  blue\n" in first.out.getvalue()
    assert "mind the cat" not in first.out.getvalue()
    assert [] == msgspec.json.decode(second.out.getvalue())["notes"]


def test_a_result_that_comes_too_late_is_kept_and_said_to_be(server: TinyServer, tmp_path: Path) -> None:
    call = Call(server.url, tmp_path)
    call.wait()
    server.answers["POST progress"] = server.answers["POST complete"] = lambda server, body: refusal("superseded")
    said = Said(server.url, tmp_path)
    assert 4 == said.say(report.run_progress, text="half way")
    assert 1 == len(call.files("claims")), "the result can still be submitted"
    assert 4 == said.say(report.run_complete, text="done")
    assert "kept as a late result of task_1" in said.err.getvalue()
    assert [claim_file.FINISHED] == [claim.state for claim in call.claims()]
    assert 4 == said.say(report.run_complete, task="task_1", text="done"), "a repeated call gets the same answer"
    assert 2 == said.say(report.run_complete, text="done"), "no open task is held any more"


def test_the_end_of_an_attempt_is_told_as_such_and_not_as_a_lack_of_rights(server: TinyServer, tmp_path: Path) -> None:
    Call(server.url, tmp_path).wait()
    for verb in ("start", "progress", "decline"):
        server.answers[f"POST {verb}"] = lambda server, body: refusal("forbidden", "This token is not good for that.")
    for function in (report.run_started, report.run_progress, report.run_decline):
        said = Said(server.url, tmp_path)
        assert 4 == said.say(function, task="task_1", attempt=1, text="I have no key")
        assert "Attempt 1 at task_1 is over" in said.err.getvalue()
        assert "Stop working on" in said.err.getvalue()
        assert "not good for that" not in said.err.getvalue()
    assert "I have no key" == next((tmp_path / "claims").rglob("*.decline.txt")).read_text(), "this is the only copy"


def test_a_token_of_another_server_is_no_word_of_an_end(server: TinyServer, tmp_path: Path) -> None:
    Call(server.url, tmp_path).wait()
    server.answers["POST complete"] = lambda server, body: refusal("unauthorized", "This token is not known here.")
    with pytest.raises(Unauthorized) as caught:
        Said(server.url, tmp_path).say(report.run_complete, text="a day's work")
    draft = next((tmp_path / "claims").rglob("*.txt"))
    assert "a day's work" == draft.read_text()
    assert f"- < {draft}" in caught.value.guidance


def test_a_result_for_which_there_is_no_place_is_kept_here(server: TinyServer, tmp_path: Path) -> None:
    Call(server.url, tmp_path).wait()
    server.answers["POST complete"] = lambda server, body: refusal("not_kept", "Attempt 1 no longer counts.")
    said = Said(server.url, tmp_path)
    assert 4 == said.say(report.run_complete, text="a day's work")
    assert "kept as a late result" not in said.err.getvalue()
    assert "a day's work" == next((tmp_path / "claims").rglob("*.txt")).read_text()


@pytest.mark.parametrize("verdict", ["superseded", "ok", "rejoin_required"])
def test_the_server_is_told_of_a_stop_only_where_the_seat_is_another_s(
    server: TinyServer, tmp_path: Path, verdict: str
) -> None:
    Call(server.url, tmp_path).wait()
    server.answers["POST complete"] = lambda server, body: refusal("superseded")
    server.answers["POST heartbeat"] = lambda server, body: answer(beaten(verdict))
    said = Said(server.url, tmp_path)
    assert 4 == said.say(report.run_complete, text="done")
    assert ("POST leave" in server.asked()) is (verdict == "superseded")
    assert ("next, for another task: greenroom wait-for-task demo" in said.err.getvalue()) is (verdict != "superseded")


def test_a_text_that_finds_no_server_is_kept_in_a_file(server: TinyServer, tmp_path: Path) -> None:
    call = Call(server.url, tmp_path)
    call.wait()
    server.answers["POST handoff"] = lambda server, body: None
    said = Said(server.url, tmp_path, GIVES_UP_SOON)
    assert 69 == said.say(report.run_handoff, text="a day's work", to="reviewer")
    draft = next(path for path in call.files("claims") if path.suffix == ".txt")
    assert "a day's work" == draft.read_text()
    assert 0o600 == draft.stat().st_mode & 0o777
    assert (
        f"greenroom handoff --to reviewer --task task_1 --attempt 1 --data-dir {tmp_path} - < {draft}"
        in said.err.getvalue()
    )
    keys = [body for key, body in server.seen if key == "POST handoff"]
    assert len(keys) >= 2, "it is retried first"
    server.answers["POST handoff"] = lambda server, body: answer(task_of(status="completed"))
    assert 0 == Said(server.url, tmp_path).say(report.run_handoff, text="a day's work", to="reviewer")
    assert [".json"] == [path.suffix for path in call.files("claims")]


def test_trouble_with_our_own_files_is_not_taken_for_a_failure(
    server: TinyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, text: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    call = Call(server.url, tmp_path)
    call.wait()
    server.answers["POST complete"] = lambda server, body: answer(task_of(status="completed"))
    monkeypatch.setattr(private_file, "write_text", refuse)
    monkeypatch.setattr(report, "write_text", refuse)
    server.answers["POST handoff"] = lambda server, body: None
    said = Said(server.url, tmp_path, GIVES_UP_SOON)
    assert 69 == said.say(report.run_handoff, text="a day's work", to="reviewer")
    assert "keep it yourself" in said.err.getvalue()
    assert 0 == Said(server.url, tmp_path).say(report.run_complete, text="done")


def test_without_a_claim_the_usage_is_told(server: TinyServer, tmp_path: Path) -> None:
    said = Said(server.url, tmp_path)
    assert 2 == said.say(report.run_started)
    assert "greenroom wait-for-task" in said.err.getvalue()
    assert [] == server.seen


def test_a_process_run_for_one_task_needs_no_file_and_is_told_to_end(
    server: TinyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TASK": "task_7", "ATTEMPT": "2", "CONNECTION": "conn_7", "TOKEN": "seven"}.items():
        monkeypatch.setenv(f"GREENROOM_{name}", value)
    server.answers["POST complete"] = lambda server, body: answer(task_of(status="completed"))
    said = Said(server.url, tmp_path)
    assert 0 == said.say(report.run_complete, text="done")
    assert {"connection_id": "conn_7", "attempt": 2, "text": "done"} == server.seen[-1][1]
    assert "wait-for-task" not in said.out.getvalue()


def test_other_refusals_are_raised(server: TinyServer, tmp_path: Path) -> None:
    Call(server.url, tmp_path).wait()
    server.answers["POST handoff"] = lambda server, body: refusal("invalid_request", "No such role.")
    with pytest.raises(GreenroomError, match="No such role") as caught:
        Said(server.url, tmp_path).say(report.run_handoff, text="x", to="nobody")
    assert "handoff --to ROLE --task task_1 --attempt 1" in caught.value.guidance
    assert "x" == next((tmp_path / "claims").rglob("*.handoff.txt")).read_text()
