"""Where a daemon's token comes from, and what is printed when the server rejects it."""

import io
import logging
from collections.abc import Callable

import pytest

from greenroom.cli.main import main
from greenroom.daemon import run
from greenroom.daemon.heartbeat import MachineHeartbeats
from greenroom.daemon.machine_identity import MachineIdentity
from greenroom.daemon.server_link import ServerLink
from greenroom.domain.errors import ConfigurationError, GreenroomError, Refused, Unauthorized, Unavailable
from greenroom.domain.limits import DEFAULT_LIMITS
from greenroom.settings.resolve import Settings
from greenroom.wire.requests import PutMachine

SECRET = "tok_secret"
URL = "http://greenroom.example"


class TerminalStdin(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_token_is_read_from_stdin() -> None:
    err = io.StringIO()
    assert SECRET == run.read_start_token("-", io.StringIO(f" {SECRET}\nmore\n"), err)
    assert run.read_start_token(None, io.StringIO("other\n"), err) is None
    assert "" == err.getvalue()


def test_token_prompt_hides_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getpass", lambda prompt, err: SECRET)
    assert SECRET == run.read_start_token("-", TerminalStdin(), io.StringIO())


def test_token_argument_warns() -> None:
    err = io.StringIO()
    assert SECRET == run.read_start_token(SECRET, io.StringIO(), err)
    assert "`--token -`" in err.getvalue()
    assert SECRET not in err.getvalue()


@pytest.mark.parametrize(("argument", "typed"), [("", ""), ("  ", ""), ("-", ""), ("-", "\n"), ("-", "two words\n")])
def test_invalid_token_is_rejected_unprinted(argument: str, typed: str) -> None:
    with pytest.raises(ConfigurationError, match="holds no token") as caught:
        run.read_start_token(argument, io.StringIO(typed), io.StringIO())
    assert "two words" not in str(caught.value)


def test_command_hides_invalid_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert 78 == main(["daemon", "start", "--url", URL, "--token", f"{SECRET} {SECRET}"])
    printed = capsys.readouterr()
    assert "--token holds no token" in printed.err
    assert SECRET not in printed.err + printed.out


@pytest.mark.parametrize(
    ("url", "has_warning"), [(URL, True), ("https://greenroom.example", False), ("http://127.0.0.1:1", False)]
)
def test_unencrypted_token_warns(
    url: str, has_warning: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens: list[str | None] = []

    def run_daemon(settings: Settings, machine: str | None, follow: int | None, token: str | None) -> int:
        tokens.append(token)
        return 0

    monkeypatch.setattr(run, "run", run_daemon)
    assert 0 == main(["daemon", "start", "--url", url, "--token", SECRET])
    assert [SECRET] == tokens
    assert has_warning == ("is not encrypted" in capsys.readouterr().err)


class RejectingSession:
    """A session with a server that rejects the registration of a machine."""

    def __init__(self, error: GreenroomError) -> None:
        self._error = error

    def register(self, machine: str, body: PutMachine) -> None:
        raise self._error

    def close(self) -> None:
        pass


def make_link(error: GreenroomError, token: str | None, monkeypatch: pytest.MonkeyPatch) -> ServerLink:
    machine = MachineIdentity(id="alpha-x2k9", name="alpha")
    link = ServerLink(URL, lambda: token, machine, lambda: PutMachine(name="alpha", harnesses=[]), DEFAULT_LIMITS)
    monkeypatch.setattr(link, "_open", lambda token, line=None: RejectingSession(error))
    return link


@pytest.mark.parametrize(
    ("error", "token", "detail"),
    [
        (Unauthorized("?", "?"), None, "has no token for it"),
        (Unauthorized("?", "?"), SECRET, "has an unknown or expired token"),
        (Refused("?", "?"), SECRET, "accepts this token, but not for this machine, whose id is alpha-x2k9"),
    ],
)
def test_registration_errors_have_guidance(
    error: Refused, token: str | None, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(type(error), match=detail) as caught:
        make_link(error, token, monkeypatch).register()
    assert type(error) is type(caught.value)
    assert "greenroom machine token alpha-x2k9" in caught.value.guidance
    assert SECRET not in str(caught.value)


def test_unreachable_server_is_logged_once_per_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors = [Unavailable("refused", "do"), Unavailable("refused", "do"), Unavailable("no Greenroom", "do")]
    next_error: Callable[[], Unavailable] = iter(errors).__next__

    class UnreachableServer:
        url = URL

        def register(self) -> None:
            raise next_error()

    beat = MachineHeartbeats(UnreachableServer(), "inc", list, lambda version: None, lambda post: None)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        for _ in errors:
            with pytest.raises(Unavailable):
                beat.register_and_beat()
    assert ["refused do", "no Greenroom do"] == [
        record.getMessage().partition(f"server unreachable, retrying: {URL}: ")[2] for record in caplog.records
    ]
