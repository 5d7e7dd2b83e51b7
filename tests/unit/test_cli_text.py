"""Texts that are typed, piped in, or missing."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenroom.cli.errors import UsageError
from greenroom.cli.terminal import read_text

BYTES_MAX = 1000


@pytest.fixture
def piped(request: pytest.FixtureRequest) -> Iterator[io.TextIOWrapper]:
    read_fd, write_fd = os.pipe()
    content: bytes = request.param
    os.write(write_fd, content)
    os.close(write_fd)
    with os.fdopen(read_fd, "r", encoding="utf-8") as stdin:
        yield stdin


class TerminalInput(io.TextIOWrapper):
    """A standard input that is a terminal."""

    def isatty(self) -> bool:
        return True


def make_terminal(content: bytes = b"") -> TerminalInput:
    return TerminalInput(io.BytesIO(content), "utf-8")


@pytest.mark.parametrize("piped", ["Zeile 1\nLinie \u00e9\n".encode()], indirect=True)
def test_piped_text_is_read_to_end(piped: io.TextIOWrapper) -> None:
    assert "Zeile 1\nLinie \u00e9" == read_text("-", True, piped, io.StringIO(), BYTES_MAX)


@pytest.mark.parametrize("piped", [b"unread"], indirect=True)
def test_typed_text_leaves_stdin_unread(piped: io.TextIOWrapper) -> None:
    assert "typed" == read_text("typed", True, piped, io.StringIO(), BYTES_MAX)
    assert "unread" == piped.read()


@pytest.mark.parametrize("piped", [b"unread"], indirect=True)
def test_text_that_waits_unread_is_noted(piped: io.TextIOWrapper, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("unread")
    with (tmp_path / "text").open() as file:
        for stdin in (piped, file):
            err = io.StringIO()
            assert "" == read_text(None, False, stdin, err, BYTES_MAX)
            assert "give `-`" in err.getvalue()
            assert "unread" == stdin.read()
            with pytest.raises(UsageError, match="There is no text") as caught:
                read_text(None, True, stdin, err, BYTES_MAX)
            assert "`-`" in caught.value.guidance


@pytest.mark.parametrize("piped", [b""], indirect=True)
def test_input_without_text_is_not_noted(piped: io.TextIOWrapper) -> None:
    with open(os.devnull) as nothing:
        for stdin in (piped, nothing, io.StringIO("in memory"), make_terminal(b"x")):
            err = io.StringIO()
            assert "" == read_text(None, False, stdin, err, BYTES_MAX)
            assert "" == err.getvalue()


def test_terminal_is_read_only_on_request() -> None:
    assert "" == read_text(None, False, make_terminal(b"x"), io.StringIO(), BYTES_MAX)
    assert "x" == read_text("-", True, make_terminal(b"x"), io.StringIO(), BYTES_MAX)
    with pytest.raises(UsageError):
        read_text(None, True, make_terminal(b"x"), io.StringIO(), BYTES_MAX)


@pytest.mark.parametrize("piped", [b"", b" \n"], indirect=True)
def test_required_text_must_not_be_empty(piped: io.TextIOWrapper) -> None:
    with pytest.raises(UsageError):
        read_text("-", True, piped, io.StringIO(), BYTES_MAX)


@pytest.mark.parametrize("piped", [b"\xff\xfe"], indirect=True)
def test_piped_text_must_be_utf8(piped: io.TextIOWrapper) -> None:
    with pytest.raises(UsageError, match="UTF-8"):
        read_text("-", True, piped, io.StringIO(), BYTES_MAX)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("x" * (BYTES_MAX + 1), "limit is 1000"),
        ("\u00e9" * 501, "1002 bytes"),
        ("a\0b", "U\\+0000"),
        ("\udcff", "UTF-8"),
    ],
)
def test_invalid_text_is_rejected_before_sending(typed: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_text(typed, True, make_terminal(), io.StringIO(), BYTES_MAX)


@pytest.mark.parametrize(("size", "is_good"), [(BYTES_MAX, True), (BYTES_MAX + 1, False), (10 * BYTES_MAX, False)])
def test_piped_text_length_limit(size: int, is_good: bool) -> None:
    content = b"x" * size + b"\n"
    if is_good:
        assert size == len(read_text("-", True, make_terminal(content), io.StringIO(), BYTES_MAX))
    else:
        with pytest.raises(UsageError, match="Write it to a file"):
            read_text("-", True, make_terminal(content), io.StringIO(), BYTES_MAX)
