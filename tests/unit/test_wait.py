"""`wait-for-task`: how a task is claimed, printed and given back, and how the next call resumes the participant."""

import errno
import io
import signal
import threading
from argparse import Namespace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom.agent import connection_file, wait
from greenroom.agent.host_limits import default_wait_s
from greenroom.client.http_transport import Response
from greenroom.domain.errors import (
    ConfigurationError,
    Conflict,
    Superseded,
    Unavailable,
    Unusable,
)
from greenroom.domain.task import LateResult
from greenroom.settings import paths
from greenroom.settings.files import write_record
from tests.unit.agent_commands import SHORT_CONTACT_LIMITS, WaitCall, make_settings, signal_answer
from tests.unit.scripted_transport import (
    claimed_task,
    empty_response,
    heartbeat_reply,
    join_reply,
    json_response,
    problem_response,
)
from tests.unit.tiny_server import TinyServer
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.usefixtures("no_agent_variables")


def test_task_output_and_claim_file(server: TinyServer, tmp_path: Path) -> None:
    late = LateResult(attempt=1, connection_id="c", to="reviewer", text="half of it", at="2026-11-20T23:46:34.120Z")
    server.answers["POST claim"] = lambda server, body: json_response(claimed_task(attempt=2, late_results=(late,)))
    call = WaitCall(server.url, tmp_path)
    assert 0 == call.wait()
    printed = call.out.getvalue()
    assert "build it" in printed
    assert "half of it" in printed
    assert f"greenroom task-started --task task_1 --attempt 2 --data-dir {tmp_path}" in printed
    assert f"greenroom wait-for-task demo --role builder --data-dir {tmp_path}\n" in printed
    assert "secret" not in printed
    assert ["task_1.2.json"] == [path.name for path in call.files("claims")]
    assert connection_file.TASK_PRINTED == call.participant_file().state
    assert "POST leave" not in server.request_keys()
    body = dict(server.requests)["POST claim"]
    assert body["detached"] is True
    assert 20.0 < body["wait_s"] <= 25.0
    assert dict(server.requests)["POST join"]["if_vacant"] is True


def test_json_output_has_no_token(server: TinyServer, tmp_path: Path) -> None:
    call = WaitCall(server.url, tmp_path)
    assert 0 == call.wait(json=True)
    document = msgspec.json.decode(call.out.getvalue())
    assert {"task", "connection_id", "next"} == set(document)
    assert ("task_1", 1) == (document["task"]["id"], document["task"]["attempt"])
    assert "token" not in document["task"]
    assert "--task task_1 --attempt 1" in document["next"]["handoff"]


def test_timeout_exits_75_and_next_call_rejoins(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = lambda server, body: empty_response()
    first = WaitCall(server.url, tmp_path)
    assert 75 == first.wait(timeout=0.0)
    assert "call again" in first.err.getvalue()
    assert "greenroom wait-for-task demo --role builder" in first.err.getvalue()
    assert connection_file.PAUSED == first.participant_file().state
    first.record_ended_process()
    assert 75 == WaitCall(server.url, tmp_path).wait(timeout=0.0)
    joins = [body["connection_id"] for key, body in server.requests if key == "POST join"]
    assert 2 == len(joins)
    assert joins[0] == joins[1]
    assert "POST leave" not in server.request_keys()


def test_last_beat_of_a_wait_says_that_it_pauses(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = lambda server, body: empty_response()
    assert 75 == WaitCall(server.url, tmp_path).wait(timeout=0.0)
    key, body = server.requests[-1]
    assert ("POST heartbeat", True) == (key, body["pausing"])


def test_wait_ends_although_its_last_beat_is_not_answered(server: TinyServer, tmp_path: Path) -> None:
    def hang(server: TinyServer, body: Any) -> Response:
        server.closing.wait(PATIENCE_S)
        return empty_response()

    server.answers["POST claim"] = lambda server, body: empty_response()
    server.answers["POST heartbeat"] = hang
    call = WaitCall(server.url, tmp_path)
    assert 75 == call.wait(timeout=0.0)
    assert connection_file.PAUSED == call.participant_file().state


def test_closed_participant_is_replaced(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = lambda server, body: empty_response()
    first = WaitCall(server.url, tmp_path)
    first.wait(timeout=0.0)
    first.record_ended_process()
    old = first.participant_file().connection_id
    server.answers["POST join"] = lambda server, body: json_response(
        join_reply("superseded" if body["connection_id"] == old else "ok")
    )
    second = WaitCall(server.url, tmp_path)
    assert 75 == second.wait(timeout=0.0)
    assert [second.participant_file().connection_id] == [path.stem for path in second.files("connections")]
    assert old != second.participant_file().connection_id


def test_taken_role_is_conflict_without_take_over(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST join"] = lambda server, body: (
        problem_response("conflict", "builder is taken by conn_9, since noon.")
        if body["if_vacant"]
        else json_response(join_reply())
    )
    call = WaitCall(server.url, tmp_path)
    with pytest.raises(Conflict, match="conn_9, since noon"):
        call.wait()
    assert [] == call.files("connections")
    assert 0 == WaitCall(server.url, tmp_path).wait(take_over=True)


def test_superseded_wait_is_told_to_stop(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = lambda server, body: problem_response("superseded", "Another has the role.")
    call = WaitCall(server.url, tmp_path)
    with pytest.raises(Superseded) as caught:
        call.wait()
    assert "again" not in str(caught.value)
    assert [] == call.files("connections")


def test_superseded_join_has_no_retry_advice(server: TinyServer, tmp_path: Path) -> None:
    """Two sessions that are each told to call again would take the role from each other for ever."""
    server.answers["POST join"] = lambda server, body: json_response(join_reply("superseded"))
    call = WaitCall(server.url, tmp_path)
    with pytest.raises(Superseded) as caught:
        call.wait()
    assert caught.value.guidance.startswith("Stop.")
    assert "again" not in f"{caught.value.detail} {caught.value.guidance}"


def test_unreachable_server_keeps_participant(tmp_path: Path) -> None:
    call = WaitCall("http://127.0.0.1:9", tmp_path, SHORT_CONTACT_LIMITS)
    with pytest.raises(Unavailable) as caught:
        call.wait()
    assert "unreachable" == caught.value.code
    assert connection_file.PAUSED == call.participant_file().state, "the server may have handled the join"


def test_unprinted_task_is_given_back(server: TinyServer, tmp_path: Path) -> None:
    class UnflushableOutput(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    call = WaitCall(server.url, tmp_path)
    call.out = UnflushableOutput()
    assert 1 == call.wait()
    assert "POST leave" == server.request_keys()[-1]
    assert [] == call.files("claims")
    assert [] == call.files("connections")
    assert "released" in call.err.getvalue()


@pytest.mark.parametrize("error", [UnicodeEncodeError("latin-1", "日", 0, 1, "no"), ValueError("closed file")])
def test_task_that_cannot_be_shown_is_given_back(server: TinyServer, tmp_path: Path, error: ValueError) -> None:
    class NarrowOutput(io.StringIO):
        def write(self, text: str) -> int:
            raise error

    call = WaitCall(server.url, tmp_path)
    call.out = NarrowOutput()
    assert 1 == call.wait()
    assert "POST leave" == server.request_keys()[-1]
    assert [] == call.files("claims")
    assert "released" in call.err.getvalue()


def test_unexpected_failure_leaves(server: TinyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("greenroom.agent.instructions.TaskDelivery.print_task", fail)
    call = WaitCall(server.url, tmp_path)
    with pytest.raises(RuntimeError):
        call.wait()
    assert "POST leave" == server.request_keys()[-1]
    assert [] == call.files("claims")


def test_unwritten_claim_is_not_printed(server: TinyServer, tmp_path: Path) -> None:
    (tmp_path / "claims").write_text("in the way")
    call = WaitCall(server.url, tmp_path)
    assert 1 == call.wait()
    assert "POST leave" == server.request_keys()[-1]
    assert "" == call.out.getvalue()


@pytest.mark.parametrize("has_task", [True, False])
def test_unwritten_participant_is_left(server: TinyServer, tmp_path: Path, has_task: bool) -> None:
    if not has_task:
        server.answers["POST claim"] = lambda server, body: empty_response()
    (tmp_path / "connections").write_text("in the way")
    call = WaitCall(server.url, tmp_path)
    with pytest.raises(ConfigurationError, match="--data-dir"):
        call.wait(timeout=0.0)
    assert "POST leave" == server.request_keys()[-1]


def test_killed_wait_does_not_block_next(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = lambda server, body: empty_response()
    killed = WaitCall(server.url, tmp_path)
    killed.wait(timeout=0.0)
    killed.record_ended_process()
    write_record(
        killed.files("connections")[0],
        msgspec.structs.replace(killed.participant_file(), state=connection_file.WAITING),
    )
    old = killed.participant_file().connection_id
    second = WaitCall(server.url, tmp_path)
    assert 75 == second.wait(timeout=0.0)
    calls = [(key, body["connection_id"]) for key, body in server.requests if key in ("POST join", "POST leave")]
    assert [("POST join", old), ("POST leave", old), ("POST join", second.participant_file().connection_id)] == calls
    assert old != second.participant_file().connection_id


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_wait_with_leave(server: TinyServer, tmp_path: Path, number: signal.Signals) -> None:
    server.answers["POST claim"] = signal_answer(number)
    before = signal.getsignal(number)
    call = WaitCall(server.url, tmp_path)
    assert 130 == call.wait()
    assert "POST leave" == server.request_keys()[-1]
    assert "next, to wait again: greenroom wait-for-task demo --role builder" in call.err.getvalue()
    assert [] == call.files("connections")
    assert before == signal.getsignal(number)


def test_invalid_names_are_rejected(tmp_path: Path) -> None:
    for room, role in (("../x", "builder"), ("demo", "../x"), ("demo", "user")):
        arguments = Namespace(room=room, role=role, timeout=None, take_over=False, json=False)
        with pytest.raises(Unusable):
            wait.run(arguments, make_settings("http://127.0.0.1:9", tmp_path), io.StringIO(), io.StringIO())
    assert [] == list(tmp_path.iterdir())


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
def test_wait_slice_fits_harness_timeout(environ: dict[str, str], expected: float | None) -> None:
    assert expected == default_wait_s(environ)


def test_heartbeats_while_waiting(server: TinyServer, tmp_path: Path) -> None:
    beats = threading.Event()

    def beat(server: TinyServer, body: Any) -> Response:
        beats.set()
        return json_response(heartbeat_reply(next_in_s=0.05))

    def wait_for_beat(server: TinyServer, body: Any) -> Response:
        assert beats.wait(PATIENCE_S)
        return json_response(claimed_task())

    server.answers["POST join"] = lambda server, body: json_response(join_reply(next_in_s=0.05))
    server.answers["POST heartbeat"] = beat
    server.answers["POST claim"] = wait_for_beat
    assert 0 == WaitCall(server.url, tmp_path).wait()
    assert str(paths.connections(tmp_path, server.url, "demo", "builder")) == str(
        next((tmp_path / "connections").rglob("*.json")).parent
    )
