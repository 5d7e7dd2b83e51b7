"""Where a daemon's token comes from, and what is printed when the server rejects it."""

import io
import logging
from collections.abc import Callable

import pytest

from greenroom.cli.main import main
from greenroom.daemon import run
from greenroom.daemon.beat import MachineBeat
from greenroom.daemon.desk import Desk
from greenroom.daemon.machine import Machine
from greenroom.domain.errors import ConfigurationError, GreenroomError, Refused, Unauthorized, Unavailable
from greenroom.domain.reliability import DEFAULTS
from greenroom.settings.resolve import Settings
from greenroom.wire.requests import PutMachine

SECRET = "tok_secret"
URL = "http://greenroom.example"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_token_is_read_from_standard_input_and_told_nowhere() -> None:
    err = io.StringIO()
    assert SECRET == run.told_token("-", io.StringIO(f" {SECRET}\nmore\n"), err)
    assert run.told_token(None, io.StringIO("other\n"), err) is None
    assert "" == err.getvalue()


def test_a_token_is_typed_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getpass", lambda prompt, err: SECRET)
    assert SECRET == run.told_token("-", Terminal(), io.StringIO())


def test_a_token_on_the_command_line_is_taken_with_a_word_of_caution() -> None:
    err = io.StringIO()
    assert SECRET == run.told_token(SECRET, io.StringIO(), err)
    assert "`--token -`" in err.getvalue()
    assert SECRET not in err.getvalue()


@pytest.mark.parametrize(("told", "given"), [("", ""), ("  ", ""), ("-", ""), ("-", "\n"), ("-", "two words\n")])
def test_what_is_no_token_is_refused_and_not_repeated(told: str, given: str) -> None:
    with pytest.raises(ConfigurationError, match="holds no token") as caught:
        run.told_token(told, io.StringIO(given), io.StringIO())
    assert "two words" not in str(caught.value)


def test_a_wrong_token_is_not_shown_by_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert 78 == main(["daemon", "start", "--url", URL, "--token", f"{SECRET} {SECRET}"])
    printed = capsys.readouterr()
    assert "--token holds no token" in printed.err
    assert SECRET not in printed.err + printed.out


@pytest.mark.parametrize(
    ("url", "is_told"), [(URL, True), ("https://greenroom.example", False), ("http://127.0.0.1:1", False)]
)
def test_a_token_that_others_can_read_on_its_way_is_worth_a_warning(
    url: str, is_told: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str | None] = []

    def note(settings: Settings, machine: str | None, follow: int | None, token: str | None) -> int:
        told.append(token)
        return 0

    monkeypatch.setattr(run, "run", note)
    assert 0 == main(["daemon", "start", "--url", url, "--token", SECRET])
    assert [SECRET] == told
    assert is_told == ("is not encrypted" in capsys.readouterr().err)


class Refusing:
    """A session with a server that rejects the registration of a machine."""

    def __init__(self, error: GreenroomError) -> None:
        self._error = error

    def register(self, machine: str, body: PutMachine) -> None:
        raise self._error

    def close(self) -> None:
        pass


def desk_at(error: GreenroomError, token: str | None, monkeypatch: pytest.MonkeyPatch) -> Desk:
    machine = Machine(id="alpha-x2k9", name="alpha")
    desk = Desk(URL, lambda: token, machine, lambda: PutMachine(name="alpha", harnesses=[]), DEFAULTS)
    monkeypatch.setattr(desk, "_open", lambda given, line=None: Refusing(error))
    return desk


@pytest.mark.parametrize(
    ("error", "token", "detail"),
    [
        (Unauthorized("?", "?"), None, "has no token for it"),
        (Unauthorized("?", "?"), SECRET, "has an unknown or expired token"),
        (Refused("?", "?"), SECRET, "accepts this token, but not for this machine, whose id is alpha-x2k9"),
    ],
)
def test_why_a_machine_is_not_let_in_is_told_apart_with_a_way_out(
    error: Refused, token: str | None, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(type(error), match=detail) as caught:
        desk_at(error, token, monkeypatch).register()
    assert type(error) is type(caught.value)
    assert "greenroom machine token alpha-x2k9" in caught.value.guidance
    assert SECRET not in str(caught.value)


def test_a_server_that_is_not_there_is_told_once_for_each_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors = [Unavailable("refused", "do"), Unavailable("refused", "do"), Unavailable("no Greenroom", "do")]
    for_each: Callable[[], Unavailable] = iter(errors).__next__

    class Away:
        url = URL

        def register(self) -> None:
            raise for_each()

    beat = MachineBeat(Away(), "inc", list, lambda version: None, lambda post: None)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        for _ in errors:
            with pytest.raises(Unavailable):
                beat.register_and_beat()
    assert ["refused do", "no Greenroom do"] == [
        record.getMessage().partition(f"server unreachable, retrying: {URL}: ")[2] for record in caplog.records
    ]
