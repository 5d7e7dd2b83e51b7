"""The exit code of every command in every situation: one row for each command, one column for each server response."""

import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from greenroom.cli import connection, main
from greenroom.cli.verbs import VERBS
from greenroom.client import api_client
from greenroom.client.http_transport import Response
from greenroom.exit_codes import ExitCode
from greenroom.settings import resolve
from tests.unit.scripted_transport import json_response, problem_response, unreachable

CLAIM = ("--task", "task_1", "--attempt", "1")
ARGUMENTS = {
    "status": (),
    "why": ("shop/builder",),
    "login": ("http://elsewhere:1",),
    "room create": ("shop", "--roles", "a,b"),
    "room list": (),
    "room show": ("shop",),
    "room change": ("shop", "--name", "till"),
    "room close": ("shop",),
    "room delete": ("shop",),
    "send": ("shop", "paint"),
    "note": ("task_1", "blue"),
    "messages": ("shop",),
    "watch": ("shop",),
    "backlog add": ("shop", "paint"),
    "backlog list": ("shop",),
    "backlog queue": ("task_1",),
    "backlog accept": ("task_1",),
    "backlog send-back": ("task_1", "--reason", "blue"),
    "task list": ("shop",),
    "task show": ("task_1",),
    "task reset": ("task_1",),
    "task cancel": ("task_1",),
    "task retry": ("task_1", "--to", "b"),
    "task accept": ("task_1", "--attempt", "1"),
    "agent set": ("shop/builder", "--model", "m"),
    "agent start": ("shop/builder",),
    "agent stop": ("shop/builder",),
    "agent restart": ("shop/builder",),
    "agent token": ("shop/builder",),
    "machine list": (),
    "machine token": ("m1",),
    "wait-for-task": ("shop", "--role", "builder"),
    "task-started": CLAIM,
    "report-progress": (*CLAIM, "half"),
    "task-complete": (*CLAIM, "done"),
    "handoff": ("--to", "b", *CLAIM, "done"),
    "decline": (*CLAIM, "cannot"),
    "work": ("shop", "--role", "builder", "--", "true"),
}
LOCAL_COMMANDS = {"up", "server", "daemon start", "daemon stop", "daemon status", "doctor", "config", "completion"}
"""Commands whose use of a server is tested by their own tests."""

CODES = {
    "silence": ExitCode.UNREACHABLE,
    "invalid_request": ExitCode.USAGE,
    "too_large": ExitCode.USAGE,
    "not_found": ExitCode.NOT_FOUND,
    "conflict": ExitCode.CONFLICT,
    "superseded": ExitCode.CONFLICT,
    "room_closed": ExitCode.CONFLICT,
    "invalid_transition": ExitCode.CONFLICT,
    "unauthorized": ExitCode.NOT_ALLOWED,
    "forbidden": ExitCode.NOT_ALLOWED,
    "idempotency_mismatch": ExitCode.FAILED,
    "internal": ExitCode.FAILED,
    "store_unavailable": ExitCode.FAILED,
}
ACCEPTED = {("login", "not_found"), ("login", "forbidden")}
"""A login requests something that does not exist: both responses, `not_found` and `forbidden`, prove a known token."""


class SingleAnswerTransport:
    """A transport that gives every request the same response."""

    def __init__(self, code: str) -> None:
        self._code = code
        self.requests: list[str] = []

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Response:
        self.requests.append(path)
        if self._code == "silence":
            raise unreachable()
        if path == "/healthz":
            return json_response({"status": "ok"})
        return problem_response(self._code)

    def stream(self, path: str, headers: Mapping[str, str], silence_s: float) -> tuple[Response, Iterator[bytes]]:
        return self.request("GET", path, None, headers, silence_s), iter(())

    def drop(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def _task_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set the environment of a process that is run for one task, which the agents' commands need."""
    variables = {"TASK": "task_1", "ATTEMPT": "1", "CONNECTION": "conn_1", "TOKEN": "t", "FIRST_CONTACT_S": "0.05"}
    for name, value in variables.items():
        monkeypatch.setenv(f"GREENROOM_{name}", value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GREENROOM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(sys, "stdin", io.StringIO("token\n"))


def test_every_command_is_in_table() -> None:
    assert {verb.name for verb in VERBS} == set(ARGUMENTS) | LOCAL_COMMANDS


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", ARGUMENTS)
def test_exit_codes(name: str, code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    transport = SingleAnswerTransport(code)
    for module in (api_client, connection):
        monkeypatch.setattr(module, "HttpTransport", lambda *_: transport)
    expected = ExitCode.DONE if (name, code) in ACCEPTED else CODES[code]
    if code == "forbidden" and CLAIM[0] in ARGUMENTS[name]:
        expected = ExitCode.CONFLICT  # an attempt's token is valid for its attempt only, so the attempt must have ended
    assert expected == main.main([*name.split(), *ARGUMENTS[name]])
    captured = capsys.readouterr()
    assert transport.requests, "the server was asked"
    assert ("error: " in captured.err) == (expected != ExitCode.DONE)
    assert "Traceback" not in captured.err
    if expected == ExitCode.CONFLICT:
        assert "call again" not in captured.out + captured.err


@pytest.mark.parametrize("name", sorted(set(ARGUMENTS) | LOCAL_COMMANDS - {"doctor", "completion"}))
def test_invalid_configuration_exit_code(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GREENROOM_HEARTBEAT_TTL_S", "2")
    assert ExitCode.CONFIGURATION == main.main([*name.split(), *ARGUMENTS.get(name, ())])
    assert "heartbeat_ttl_s" in capsys.readouterr().err


@pytest.mark.parametrize("name", [verb.name for verb in VERBS if verb.text is not None])
@pytest.mark.parametrize("text", ["a\0b", "\udcff", "x" * (1024 * 1024 + 1)], ids=["nul", "not utf-8", "too long"])
def test_invalid_text_is_rejected_before_sending(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    transport = SingleAnswerTransport("silence")
    for module in (api_client, connection):
        monkeypatch.setattr(module, "HttpTransport", lambda *_: transport)
    assert ExitCode.USAGE == main.main([*name.split(), *ARGUMENTS[name][:-1], text])
    assert [] == transport.requests
    assert "error: The text" in capsys.readouterr().err


def test_token_from_environment_is_used() -> None:
    assert ("t", "environment GREENROOM_TOKEN") == resolve.find_token(
        "http://there:1", Path("/nowhere"), {"GREENROOM_TOKEN": "t"}
    )
