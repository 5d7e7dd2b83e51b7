"""The exit code of every command in every situation: one row for each command, one column for each server response."""

import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from greenroom.cli import connection, exits, main
from greenroom.cli.verbs import VERBS
from greenroom.client import session
from greenroom.client.transport import Response
from greenroom.settings import resolve
from tests.unit.scripted import answer, refusal, silence

CLAIM = ("--task", "task_1", "--attempt", "1")
TYPED = {
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
OF_THIS_MACHINE = {"up", "server", "daemon start", "daemon stop", "daemon status", "doctor", "config", "completion"}
"""Commands whose use of a server is tested by their own tests."""

CODES = {
    "silence": exits.UNREACHABLE,
    "invalid_request": exits.USAGE,
    "too_large": exits.USAGE,
    "not_found": exits.NOT_FOUND,
    "conflict": exits.CONFLICT,
    "superseded": exits.CONFLICT,
    "room_closed": exits.CONFLICT,
    "invalid_transition": exits.CONFLICT,
    "unauthorized": exits.NOT_ALLOWED,
    "forbidden": exits.NOT_ALLOWED,
    "idempotency_mismatch": exits.FAILED,
    "internal": exits.FAILED,
    "store_unavailable": exits.FAILED,
}
TAKEN = {("login", "not_found"), ("login", "forbidden")}
"""A login requests something that does not exist: both responses, `not_found` and `forbidden`, prove a known token."""


class OneAnswer:
    """A transport that gives every request the same response."""

    def __init__(self, code: str) -> None:
        self._code = code
        self.asked: list[str] = []

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Response:
        self.asked.append(path)
        if self._code == "silence":
            raise silence()
        if path == "/healthz":
            return answer({"status": "ok"})
        return refusal(self._code)

    def stream(self, path: str, headers: Mapping[str, str], silence_s: float) -> tuple[Response, Iterator[bytes]]:
        return self.request("GET", path, None, headers, silence_s), iter(())

    def drop(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def _agent_of_a_task(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set the environment of a process that is run for one task, which the agents' commands need."""
    given = {"TASK": "task_1", "ATTEMPT": "1", "CONNECTION": "conn_1", "TOKEN": "t", "FIRST_CONTACT_S": "0.05"}
    for name, value in given.items():
        monkeypatch.setenv(f"GREENROOM_{name}", value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GREENROOM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(sys, "stdin", io.StringIO("token\n"))


def test_the_table_is_whole() -> None:
    assert {verb.name for verb in VERBS} == set(TYPED) | OF_THIS_MACHINE


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", TYPED)
def test_exit_codes(name: str, code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    server = OneAnswer(code)
    for module in (session, connection):
        monkeypatch.setattr(module, "HttpTransport", lambda *_: server)
    expected = exits.DONE if (name, code) in TAKEN else CODES[code]
    if code == "forbidden" and CLAIM[0] in TYPED[name]:
        expected = exits.CONFLICT  # an attempt's token is valid for its attempt only, so the attempt must have ended
    assert expected == main.main([*name.split(), *TYPED[name]])
    shown = capsys.readouterr()
    assert server.asked, "the server was asked"
    assert ("error: " in shown.err) == (expected != exits.DONE)
    assert "Traceback" not in shown.err
    if expected == exits.CONFLICT:
        assert "call again" not in shown.out + shown.err


@pytest.mark.parametrize("name", sorted(set(TYPED) | OF_THIS_MACHINE - {"doctor", "completion"}))
def test_a_configuration_that_cannot_be_meant_is_told_by_every_verb(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GREENROOM_HEARTBEAT_TTL_S", "2")
    assert exits.CONFIGURATION == main.main([*name.split(), *TYPED.get(name, ())])
    assert "heartbeat_ttl_s" in capsys.readouterr().err


@pytest.mark.parametrize("name", [verb.name for verb in VERBS if verb.text is not None])
@pytest.mark.parametrize("text", ["a\0b", "\udcff", "x" * (1024 * 1024 + 1)], ids=["nul", "not utf-8", "too long"])
def test_a_text_that_no_server_takes_is_wrong_usage_before_anything_is_sent(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = OneAnswer("silence")
    for module in (session, connection):
        monkeypatch.setattr(module, "HttpTransport", lambda *_: server)
    assert exits.USAGE == main.main([*name.split(), *TYPED[name][:-1], text])
    assert [] == server.asked
    assert "error: The text" in capsys.readouterr().err


def test_the_token_of_the_environment_is_the_one_that_is_told() -> None:
    assert ("t", "environment GREENROOM_TOKEN") == resolve.find_token(
        "http://there:1", Path("/nowhere"), {"GREENROOM_TOKEN": "t"}
    )
