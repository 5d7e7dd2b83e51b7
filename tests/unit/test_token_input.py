"""Tokens that are typed or piped in: a byte order mark before one, and an end of input in its place."""

import getpass
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from greenroom.cli import login
from greenroom.cli.errors import UsageError
from greenroom.daemon.run import read_start_token
from greenroom.domain.errors import ConfigurationError, GreenroomError
from greenroom.settings.files import read_record
from greenroom.settings.stored_tokens import StoredToken

READERS: list[Callable[[io.StringIO], str | None]] = [
    lambda stdin: login.read_token("http://127.0.0.1:1", io.StringIO()),
    lambda stdin: read_start_token("-", stdin, io.StringIO()),
]


class Terminal(io.StringIO):
    """Standard input that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("read", READERS)
def test_byte_order_mark_is_no_part_of_a_token(
    read: Callable[[io.StringIO], str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin = io.StringIO("\ufeffgr~machine~one\n")
    monkeypatch.setattr("sys.stdin", stdin)
    assert "gr~machine~one" == read(stdin)


@pytest.mark.parametrize(("read", "error"), [(READERS[0], UsageError), (READERS[1], ConfigurationError)])
def test_end_of_input_at_the_prompt_is_told(
    read: Callable[[io.StringIO], str | None], error: type[GreenroomError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(prompt: str, stream: object) -> str:
        raise EOFError

    monkeypatch.setattr(getpass, "getpass", end)
    monkeypatch.setattr("sys.stdin", Terminal())
    with pytest.raises(error):
        read(Terminal())


def test_record_that_is_nested_without_end_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "login.json"
    path.write_text('{"other": ' + "[" * 100_000)
    assert read_record(path, StoredToken) is None
