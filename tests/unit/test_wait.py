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

from greenroom.agent import sitting_file, wait
from greenroom.agent.harness import slice_s
from greenroom.client.transport import Response
from greenroom.domain.errors import (
    ConfigurationError,
    Conflict,
    Superseded,
    Unavailable,
    Unusable,
)
from greenroom.domain.task import LateResult
from greenroom.settings import paths
from greenroom.settings.private_file import write_record
from tests.unit.calling import GIVES_UP_SOON, Call, interrupted_by, settings_of
from tests.unit.scripted import answer, beaten, claimed, joined, nothing, refusal
from tests.unit.tiny_server import TinyServer
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.usefixtures("no_harness")


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
    asked = dict(server.seen)["POST claim"]
    assert asked["hand_over"] is True
    assert 20.0 < asked["wait_s"] <= 25.0
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


def test_a_seat_that_another_took_is_never_asked_for_again(server: TinyServer, tmp_path: Path) -> None:
    """Two sessions that are each told to call again would take the role from each other for ever."""
    server.answers["POST join"] = lambda server, body: answer(joined("superseded"))
    call = Call(server.url, tmp_path)
    with pytest.raises(Superseded) as caught:
        call.wait()
    assert caught.value.guidance.startswith("Stop.")
    assert "again" not in f"{caught.value.detail} {caught.value.guidance}"


def test_a_server_that_is_not_there_is_given_up_and_the_sitting_kept(tmp_path: Path) -> None:
    call = Call("http://127.0.0.1:9", tmp_path, GIVES_UP_SOON)
    with pytest.raises(Unavailable) as caught:
        call.wait()
    assert "unreachable" == caught.value.code
    assert sitting_file.PAUSED == call.sitting().state, "the server may have handled the join"


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
    server.answers["POST claim"] = interrupted_by(number)
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
        assert beats.wait(PATIENCE_S)
        return answer(claimed())

    server.answers["POST join"] = lambda server, body: answer(joined(next_in_s=0.05))
    server.answers["POST heartbeat"] = beat
    server.answers["POST claim"] = wait_for_a_beat
    assert 0 == Call(server.url, tmp_path).wait()
    assert str(paths.sittings(tmp_path, server.url, "demo", "builder")) == str(
        next((tmp_path / "sittings").rglob("*.json")).parent
    )
