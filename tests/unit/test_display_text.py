"""Text for terminals: strangers' text is harmless, and no visible character is split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.cli.display_text import (
    cut_text,
    escape_cell,
    escape_control,
    first_line,
    pad_text,
    split_graphemes,
    text_width,
)

FAMILY = "👩\u200d👩\u200d👧"
WRENCH = "👩🏽\u200d🔧"
FLAG = "🇩🇪"
ACCENT = "e\u0301"
HANGUL = "\u1112\u1161\u11ab"
GRAPHEMES = ("a", "日", "é", FAMILY, WRENCH, FLAG, ACCENT, HANGUL, "❤\ufe0f", "한")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b2J", "\\x9b2J"),
        ("a\rb\x08", "a\\x0db\\x08"),
        ("\u202egnp.exe\u202c", "\\u202egnp.exe\\u202c"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("\u200e\u200f\u061c", "\\u200e\\u200f\\u061c"),
        ("\u2028\u2029\ufeff", "\\u2028\\u2029\\ufeff"),
        ("\U000e0041", "\\U000e0041"),
        ("\udcff", "\\udcff"),
        ("a\tb\n", "a\tb\n"),
        (FAMILY + "שלום عربي 日本", FAMILY + "שלום عربي 日本"),
    ],
)
def test_acting_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert shown == escape_control(text)


def test_cell_has_one_line() -> None:
    assert "a b c" == escape_cell("a\tb\nc")


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("日本", 4), ("👩", 2), (ACCENT, 1), ("", 0), ("grün", 4)])
def test_width_is_that_of_the_terminal(text: str, width: int) -> None:
    assert width == text_width(text)
    assert f"{text}{' ' * (6 - width)}" == pad_text(text, 6)


@given(st.lists(st.sampled_from(GRAPHEMES)), st.integers(0, 30))
def test_cut_splits_no_grapheme(graphemes: list[str], width: int) -> None:
    text = "".join(graphemes)
    assert graphemes == list(split_graphemes(text))
    cut = cut_text(text, width)
    assert text_width(cut) <= width
    assert any("".join(graphemes[:count]) == cut for count in range(len(graphemes) + 1))


@given(st.text(), st.integers(1, 40))
def test_first_line_fits(text: str, width: int) -> None:
    line = first_line(text, width)
    assert text_width(line) <= width
    assert len(line.splitlines()) <= 1
