import errno
import io
import os
import signal
import threading
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom.agent import claim_file, report, sitting_file, wait
from greenroom.agent.claim_file import Claim
from greenroom.agent.harness import slice_s
from greenroom.client.transport import Response
from greenroom.domain.errors import ConfigurationError, Conflict, GreenroomError, Superseded, Unavailable, Unusable
from greenroom.domain.reliability import Reliability
from greenroom.domain.task import LateResult, Note
from greenroom.process.identity import Identity
from greenroom.settings import paths, private_file
from greenroom.settings.private_file import write_record
from greenroom.settings.project import DaemonSettings
from greenroom.settings.resolve import Settings
from tests.unit.scripted import answer, beaten, claimed, joined, nothing, refusal, task_of
from tests.unit.tiny_server import Answer, TinyServer, serving

LIMITS = Reliability(first_contact_s=0.5, retry_pause_s=0.02)


@pytest.fixture(autouse=True)
def _no_harness(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may themselves be run by an agent, with a cap or a task of its own."""
    for name in os.environ:
        if name.startswith(("CLAUDECODE", "CODEX_", "OPENCODE", "QWEN_CODE", "GEMINI_CLI", "GREENROOM_")):
            monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[TinyServer]:
    plain: dict[str, Answer] = {
        "POST join": lambda server, body: answer(joined()),
        "POST heartbeat": lambda server, body: answer(beaten()),
        "POST leave": lambda server, body: answer({"status": "ok"}),
        "POST claim": lambda server, body: answer(claimed()),
    }
    with serving(plain) as tiny:
        yield tiny


def settings_of(url: str, folder: Path) -> Settings:
    return Settings(
        url=url,
        token="t",
        data_dir=folder,
        database=None,
        limits=LIMITS,
        project=None,
        user_daemon=DaemonSettings(),
        origins={"data_dir": "flag --data-dir"},
    )


class Call:
    """One call of the command, in this process."""

    def __init__(self, url: str, folder: Path) -> None:
        self.settings = settings_of(url, folder)
        self.out, self.err = io.StringIO(), io.StringIO()

    def wait(self, timeout: float | None = None, take_over: bool = False, json: bool = False) -> int:
        arguments = Namespace(room="demo", role="builder", timeout=timeout, take_over=take_over, json=json)
        return wait.run(arguments, self.settings, self.out, self.err)

    def files(self, kind: str) -> list[Path]:
        return [path for path in (self.settings.data_dir / kind).rglob("*") if path.is_file()]

    def claims(self) -> list[Claim]:
        return [msgspec.json.decode(path.read_bytes(), type=Claim) for path in self.files("claims")]

    def sitting(self) -> sitting_file.SittingFile:
        return msgspec.json.decode(self.files("sittings")[0].read_bytes(), type=sitting_file.SittingFile)

    def end_process(self) -> None:
        """Make the sitting that of a process which has ended."""
        gone = msgspec.structs.replace(self.sitting(), process=Identity(os.getpid(), "an earlier start"))
        write_record(self.files("sittings")[0], gone)


def test_a_task_is_printed_with_what_to_do_next_and_its_claim_lies_ready(server: TinyServer, tmp_path: Path) -> None:
    late = LateResult(attempt=1, connection_id="c", to="reviewer", text="half of it", at="2026-11-20T23:46:34.120Z")
    server.answers["POST claim"] = lambda server, body: answer(claimed(attempt=2, late_results=(late,)))
    call = Call(server.url, tmp_path)
    assert 0 == call.wait()
    printed = call.out.getvalue()
    assert "build it" in printed
    assert "half of it" in printed
    assert f"greenroom task-started --task task_1 --attempt 2 --data-dir {tmp_path}" in printed
    assert f"greenroom wait-for-task demo --role builder --data-dir {tmp_path}\n" in printed
    assert "secret" not in printed
    assert ["task_1.2.json"] == [path.name for path in call.files("claims")]
    assert sitting_file.HANDED == call.sitting().state
    assert "POST leave" not in server.asked()
    assert {"wait_s": 25.0, "hand_over": True}.items() <= dict(server.seen)["POST claim"].items()
    assert dict(server.seen)["POST join"]["if_vacant"] is True


def test_json_is_one_document_without_the_token(server: TinyServer, tmp_path: Path) -> None:
    call = Call(server.url, tmp_path)
    assert 0 == call.wait(json=True)
    document = msgspec.json.decode(call.out.getvalue())
    assert {"task", "connection_id", "next"} == set(document)
    assert ("task_1", 1) == (document["task"]["id"], document["task"]["attempt"])
    assert "token" not in document["task"]
    assert "--task task_1 --attempt 1" in document["next"]["handoff"]


def test_no_task_in_time_is_75_and_the_next_call_carries_the_sitting_on(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = lambda server, body: nothing()
    first = Call(server.url, tmp_path)
    assert 75 == first.wait(timeout=0.0)
    assert "call again" in first.err.getvalue()
    assert "greenroom wait-for-task demo --role builder" in first.err.getvalue()
    assert sitting_file.PAUSED == first.sitting().state
    first.end_process()
    assert 75 == Call(server.url, tmp_path).wait(timeout=0.0)
    joins = [body["connection_id"] for key, body in server.seen if key == "POST join"]
    assert 2 == len(joins)
    assert joins[0] == joins[1]
    assert "POST leave" not in server.asked()


def test_a_carried_sitting_that_was_closed_becomes_a_new_one(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = lambda server, body: nothing()
    first = Call(server.url, tmp_path)
    first.wait(timeout=0.0)
    first.end_process()
    old = first.sitting().connection_id
    server.answers["POST join"] = lambda server, body: answer(
        joined("superseded" if body["connection_id"] == old else "ok")
    )
    second = Call(server.url, tmp_path)
    assert 75 == second.wait(timeout=0.0)
    assert [second.sitting().connection_id] == [path.stem for path in second.files("sittings")]
    assert old != second.sitting().connection_id


def test_a_taken_seat_is_a_conflict_unless_it_is_taken_over(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST join"] = lambda server, body: (
        refusal("conflict", "builder is taken by conn_9, since noon.") if body["if_vacant"] else answer(joined())
    )
    call = Call(server.url, tmp_path)
    with pytest.raises(Conflict, match="conn_9, since noon"):
        call.wait()
    assert [] == call.files("sittings")
    assert 0 == Call(server.url, tmp_path).wait(take_over=True)


def test_who_is_superseded_while_it_waits_is_told_to_stop(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = lambda server, body: refusal("superseded", "Another has the role.")
    call = Call(server.url, tmp_path)
    with pytest.raises(Superseded) as caught:
        call.wait()
    assert "again" not in str(caught.value)
    assert [] == call.files("sittings")


def test_a_server_that_is_not_there_is_given_up_and_the_sitting_kept(tmp_path: Path) -> None:
    call = Call("http://127.0.0.1:9", tmp_path)
    with pytest.raises(Unavailable) as caught:
        call.wait()
    assert "unreachable" == caught.value.code
    assert sitting_file.PAUSED == call.sitting().state, "the join may have arrived"


def test_a_task_that_cannot_be_printed_is_given_back(server: TinyServer, tmp_path: Path) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    call = Call(server.url, tmp_path)
    call.out = Full()
    assert 1 == call.wait()
    assert "POST leave" == server.asked()[-1]
    assert [] == call.files("claims")
    assert [] == call.files("sittings")
    assert "given back" in call.err.getvalue()


def test_a_claim_that_cannot_be_written_is_not_printed(server: TinyServer, tmp_path: Path) -> None:
    (tmp_path / "claims").write_text("in the way")
    call = Call(server.url, tmp_path)
    assert 1 == call.wait()
    assert "POST leave" == server.asked()[-1]
    assert "" == call.out.getvalue()


@pytest.mark.parametrize("has_task", [True, False])
def test_a_sitting_that_cannot_be_written_down_is_left_and_not_kept_from_others(
    server: TinyServer, tmp_path: Path, has_task: bool
) -> None:
    if not has_task:
        server.answers["POST claim"] = lambda server, body: nothing()
    (tmp_path / "sittings").write_text("in the way")
    call = Call(server.url, tmp_path)
    with pytest.raises(ConfigurationError, match="--data-dir"):
        call.wait(timeout=0.0)
    assert "POST leave" == server.asked()[-1]


def test_a_wait_that_was_killed_does_not_keep_the_role_from_the_next_one(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = lambda server, body: nothing()
    killed = Call(server.url, tmp_path)
    killed.wait(timeout=0.0)
    killed.end_process()
    write_record(killed.files("sittings")[0], msgspec.structs.replace(killed.sitting(), state=sitting_file.WAITING))
    old = killed.sitting().connection_id
    second = Call(server.url, tmp_path)
    assert 75 == second.wait(timeout=0.0)
    said = [(key, body["connection_id"]) for key, body in server.seen if key in ("POST join", "POST leave")]
    assert [("POST join", old), ("POST leave", old), ("POST join", second.sitting().connection_id)] == said
    assert old != second.sitting().connection_id


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_wait_with_a_leave(server: TinyServer, tmp_path: Path, number: signal.Signals) -> None:
    def interrupt(server: TinyServer, body: Any) -> Response:
        os.kill(os.getpid(), number)
        server.closing.wait(30)
        return nothing()

    server.answers["POST claim"] = interrupt
    before = signal.getsignal(number)
    call = Call(server.url, tmp_path)
    assert 130 == call.wait()
    assert "POST leave" == server.asked()[-1]
    assert "to come back: greenroom wait-for-task demo --role builder" in call.err.getvalue()
    assert [] == call.files("sittings")
    assert before == signal.getsignal(number)


def test_a_room_or_role_that_leads_elsewhere_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for room, role in (("../x", "builder"), ("demo", "../x"), ("demo", "user")):
        arguments = Namespace(room=room, role=role, timeout=None, take_over=False, json=False)
        with pytest.raises(Unusable):
            wait.run(arguments, settings_of("http://127.0.0.1:9", tmp_path), io.StringIO(), io.StringIO())
    assert [] == list(tmp_path.iterdir())


# What the agent says about the task afterwards.


class Said:
    """One of the later commands, in this process."""

    def __init__(self, url: str, folder: Path) -> None:
        self.settings = settings_of(url, folder)
        self.out, self.err = io.StringIO(), io.StringIO()

    def say(self, function: Any, **given: Any) -> int:
        plain = {"task": None, "attempt": None, "room": None, "role": None, "json": False, "text": ""}
        code = function(Namespace(**plain | given), self.settings, self.out, self.err)
        assert isinstance(code, int)
        return code


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
    assert sitting_file.HANDED == call.sitting().state, "the sitting may be at its next task by now"
    for function in (report.run_started, report.run_progress, report.run_decline):
        assert 4 == said.say(function, task="task_1", attempt=1, text="more")
    assert 2 == sum(key == "POST complete" for key, _ in server.seen)
    assert "POST complete" == server.seen[-1][0], "what cannot be meant is not sent"
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
    assert 1 == len(call.files("claims")), "its result can still be handed in"
    assert 4 == said.say(report.run_complete, text="done")
    assert "kept as a late result of task_1" in said.err.getvalue()
    assert "wait-for-task" not in said.err.getvalue()
    assert [claim_file.FINISHED] == [claim.state for claim in call.claims()]
    assert 4 == said.say(report.run_complete, task="task_1", text="done"), "said again it is answered again"
    assert 2 == said.say(report.run_complete, text="done"), "nothing open is held here any more"


def test_a_text_that_finds_no_server_is_kept_in_a_file(server: TinyServer, tmp_path: Path) -> None:
    call = Call(server.url, tmp_path)
    call.wait()
    server.answers["POST handoff"] = lambda server, body: None
    said = Said(server.url, tmp_path)
    assert 69 == said.say(report.run_handoff, text="a day's work", to="reviewer")
    draft = next(path for path in call.files("claims") if path.suffix == ".txt")
    assert "a day's work" == draft.read_text()
    assert 0o600 == draft.stat().st_mode & 0o777
    assert (
        f"greenroom handoff --to reviewer --task task_1 --attempt 1 --data-dir {tmp_path} - < {draft}"
        in said.err.getvalue()
    )
    keys = [body for key, body in server.seen if key == "POST handoff"]
    assert len(keys) >= 2, "it is tried again for a while first"
    server.answers["POST handoff"] = lambda server, body: answer(task_of(status="completed"))
    assert 0 == said.say(report.run_handoff, text="a day's work", to="reviewer")
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
    said = Said(server.url, tmp_path)
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
    with pytest.raises(GreenroomError, match="No such role"):
        Said(server.url, tmp_path).say(report.run_handoff, text="x", to="nobody")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"CLAUDECODE": "1"}, 108.0),
        ({"CLAUDECODE": "1", "BASH_DEFAULT_TIMEOUT_MS": "600000"}, 540.0),
        ({"CLAUDECODE": "1", "BASH_DEFAULT_TIMEOUT_MS": "nonsense"}, 108.0),
        ({"CODEX_SANDBOX": "seatbelt"}, 8.0),
        ({"OPENCODE": "1"}, 108.0),
        ({"OPENCODE": "1", "OPENCODE_EXPERIMENTAL_BASH_DEFAULT_TIMEOUT_MS": "30000"}, 27.0),
        ({"QWEN_CODE": "1"}, 108.0),
        ({"GEMINI_CLI": "1"}, 270.0),
        ({"GEMINI_CLI": "1", "CODEX_CI": "1"}, 8.0),
    ],
)
def test_inside_a_harness_a_wait_is_a_slice_that_fits_its_cap(environ: dict[str, str], expected: float | None) -> None:
    assert expected == slice_s(environ)


def test_the_sitting_is_kept_present_while_it_waits(server: TinyServer, tmp_path: Path) -> None:
    beats = threading.Event()

    def beat(server: TinyServer, body: Any) -> Response:
        beats.set()
        return answer(beaten(next_in_s=0.05))

    def wait_for_a_beat(server: TinyServer, body: Any) -> Response:
        assert beats.wait(30)
        return answer(claimed())

    server.answers["POST join"] = lambda server, body: answer(joined(next_in_s=0.05))
    server.answers["POST heartbeat"] = beat
    server.answers["POST claim"] = wait_for_a_beat
    assert 0 == Call(server.url, tmp_path).wait()
    assert str(paths.sittings(tmp_path, server.url, "demo", "builder")) == str(
        next((tmp_path / "sittings").rglob("*.json")).parent
    )
