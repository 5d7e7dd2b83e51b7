"""`wait-for-task` in a resident process: it sends claims, and leaves the participant to the daemon."""

import errno
import io
import os
import signal
from pathlib import Path

import pytest

from greenroom.agent import claim_file, report
from greenroom.agent.claim_file import ClaimQuery
from greenroom.agent.wait import resident_connection
from greenroom.domain.errors import Superseded, Unusable
from tests.unit.agent_commands import ReportCall, WaitCall, signal_answer
from tests.unit.scripted_transport import claimed_task, empty_response, json_response, make_task, problem_response
from tests.unit.tiny_server import TinyServer

RESIDENT_VARIABLES = {"GREENROOM_ROOM": "room_1", "GREENROOM_ROLE": "builder", "GREENROOM_CONNECTION": "conn_kept"}


@pytest.fixture
def server(server: TinyServer, no_agent_variables: None, monkeypatch: pytest.MonkeyPatch) -> TinyServer:
    for name, value in (RESIDENT_VARIABLES | {"GREENROOM_URL": server.url, "GREENROOM_TOKEN": "t"}).items():
        monkeypatch.setenv(name, value)
    return server


def test_claim_uses_daemon_connection(server: TinyServer, tmp_path: Path) -> None:
    call = WaitCall(server.url, tmp_path)
    assert 0 == call.wait(take_over=True)
    assert ["POST claim"] == server.request_keys(), "no join, no beat, no leave"
    sent = dict(server.requests)["POST claim"]
    assert ("conn_kept", False) == (sent["connection_id"], sent["detached"])
    assert "build it" in call.out.getvalue()
    assert ["conn_kept"] == [claim.connection_id for claim in call.claims()]
    assert [] == call.files("connections")


def test_timeout_sends_no_leave(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = lambda server, body: empty_response()
    call = WaitCall(server.url, tmp_path)
    assert 75 == call.wait(timeout=0.1)
    assert "call again" in call.err.getvalue()
    assert {"POST claim"} == set(server.request_keys())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_sends_no_leave(server: TinyServer, tmp_path: Path, number: signal.Signals) -> None:
    server.answers["POST claim"] = signal_answer(number)
    call = WaitCall(server.url, tmp_path)
    assert 130 == call.wait()
    assert {"POST claim"} == set(server.request_keys())


def test_unprinted_task_is_given_again(server: TinyServer, tmp_path: Path) -> None:
    class UnwritableOutput(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    call = WaitCall(server.url, tmp_path)
    call.out = UnwritableOutput()
    assert 1 == call.wait()
    assert [] == call.files("claims")
    assert "next, to get it again: greenroom wait-for-task demo --role builder" in call.err.getvalue()
    assert {"POST claim"} == set(server.request_keys())


def test_superseded_claim_is_raised(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = lambda server, body: problem_response("superseded")
    with pytest.raises(Superseded):
        WaitCall(server.url, tmp_path).wait()
    assert ["POST claim"] == server.request_keys()


def test_report_uses_own_claim(server: TinyServer, tmp_path: Path) -> None:
    WaitCall(server.url, tmp_path).wait()  # the room by its name, while the environment has its id
    server.answers["POST complete"] = lambda server, body: json_response(make_task(status="completed"))
    report_call = ReportCall(server.url, tmp_path)
    assert 0 == report_call.run(report.run_complete, text="done")
    assert "greenroom wait-for-task demo --role builder" in report_call.out.getvalue()


def test_superseded_report_sends_no_leave(server: TinyServer, tmp_path: Path) -> None:
    WaitCall(server.url, tmp_path).wait()
    server.answers["POST complete"] = lambda server, body: problem_response("superseded")
    assert 4 == ReportCall(server.url, tmp_path).run(report.run_complete, text="done")
    assert {"POST claim", "POST complete"} == set(server.request_keys())


def test_connection_needs_whole_environment() -> None:
    environ = RESIDENT_VARIABLES | {"GREENROOM_URL": "http://a/", "GREENROOM_TOKEN": "t"}
    assert "conn_kept" == resident_connection(environ, "http://a", "builder")
    assert resident_connection(environ, "http://a", "reviewer") is None
    assert resident_connection(environ, "http://b", "builder") is None
    assert resident_connection(environ | {"GREENROOM_TASK": "task_1"}, "http://a", "builder") is None
    assert resident_connection(environ | {"GREENROOM_TOKEN": ""}, "http://a", "builder") is None
    assert resident_connection(RESIDENT_VARIABLES, "http://a", "builder") is None


def test_claim_of_other_connection_is_ignored(server: TinyServer, tmp_path: Path) -> None:
    call = WaitCall(server.url, tmp_path)
    call.wait()
    other = dict(os.environ) | {"GREENROOM_CONNECTION": "conn_other"}
    with pytest.raises(Unusable):
        claim_file.resolve_claim(tmp_path, server.url, ClaimQuery(), other)
    assert claimed_task().id == claim_file.resolve_claim(tmp_path, server.url, ClaimQuery(), os.environ).task
