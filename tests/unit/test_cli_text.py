"""Texts that are typed, piped in, or missing."""

import io
import os
from collections.abc import Iterator

import pytest

from greenroom.cli.exits import WrongUsage
from greenroom.cli.text import settle_text

BYTES_MAX = 1000


@pytest.fixture
def piped(request: pytest.FixtureRequest) -> Iterator[io.TextIOWrapper]:
    reading, writing = os.pipe()
    content: bytes = request.param
    os.write(writing, content)
    os.close(writing)
    with os.fdopen(reading, "r", encoding="utf-8") as stdin:
        yield stdin


class Terminal(io.TextIOWrapper):
    """A standard input that is a terminal."""

    def isatty(self) -> bool:
        return True


def terminal(content: bytes = b"") -> Terminal:
    return Terminal(io.BytesIO(content), "utf-8")


@pytest.mark.parametrize("piped", ["Zeile 1\nLinie \u00e9\n".encode()], indirect=True)
@pytest.mark.parametrize("typed", [None, "-"])
def test_a_piped_text_is_read_whole(piped: io.TextIOWrapper, typed: str | None) -> None:
    assert "Zeile 1\nLinie \u00e9" == settle_text(typed, True, piped, io.StringIO(), BYTES_MAX)


@pytest.mark.parametrize("piped", [b"unread"], indirect=True)
def test_a_typed_text_leaves_standard_input_alone(piped: io.TextIOWrapper) -> None:
    assert "typed" == settle_text("typed", True, piped, io.StringIO(), BYTES_MAX)
    assert "unread" == piped.read()


def test_at_a_terminal_nothing_is_waited_for_unless_asked() -> None:
    assert "" == settle_text(None, False, terminal(b"x"), io.StringIO(), BYTES_MAX)
    assert "x" == settle_text("-", True, terminal(b"x"), io.StringIO(), BYTES_MAX)
    with pytest.raises(WrongUsage):
        settle_text(None, True, terminal(b"x"), io.StringIO(), BYTES_MAX)


@pytest.mark.parametrize("piped", [b"", b" \n"], indirect=True)
def test_a_needed_text_must_say_something(piped: io.TextIOWrapper) -> None:
    with pytest.raises(WrongUsage):
        settle_text(None, True, piped, io.StringIO(), BYTES_MAX)


@pytest.mark.parametrize("piped", [b"\xff\xfe"], indirect=True)
def test_what_is_no_text_is_refused(piped: io.TextIOWrapper) -> None:
    with pytest.raises(WrongUsage, match="UTF-8"):
        settle_text("-", True, piped, io.StringIO(), BYTES_MAX)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("x" * (BYTES_MAX + 1), "limit is 1000"),
        ("\u00e9" * 501, "1002 bytes"),
        ("a\0b", "U\\+0000"),
        ("\udcff", "UTF-8"),
    ],
)
def test_what_no_server_takes_is_refused_before_it_is_sent(typed: str, told: str) -> None:
    with pytest.raises(WrongUsage, match=told):
        settle_text(typed, True, terminal(), io.StringIO(), BYTES_MAX)


@pytest.mark.parametrize(("size", "is_good"), [(BYTES_MAX, True), (BYTES_MAX + 1, False), (10 * BYTES_MAX, False)])
def test_a_piped_text_may_be_as_long_as_the_limit_says(size: int, is_good: bool) -> None:
    content = b"x" * size + b"\n"
    if is_good:
        assert size == len(settle_text("-", True, terminal(content), io.StringIO(), BYTES_MAX))
    else:
        with pytest.raises(WrongUsage, match="Write it to a file"):
            settle_text("-", True, terminal(content), io.StringIO(), BYTES_MAX)
