"""Prepares text for a terminal: escapes characters that act on it, and measures and cuts text in terminal columns.

Texts of agents and servers may hold anything. What would move the cursor, hide text or change its direction is shown as
an escape such as `\\x1b`. Widths are those of Rich, which is loaded for text that is not ASCII only.
"""

import re
import unicodedata
from collections.abc import Iterator
from importlib import import_module

ACTING_CHARACTERS = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, except tabs and line breaks
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f"  # direction marks and overrides, line and paragraph separators
    "\ufeff\ufff9-\ufffb"  # the byte order mark, and annotations
    "\U000e0000-\U000e007f"  # tags: letters that no terminal shows
    "\ud800-\udfff"  # bytes that are not UTF-8
    "]"
)
CUT_MARK = "…"
JOINER = "\u200d"
EXTENDING_CATEGORIES = ("Mn", "Me", "Mc")


def escape_control(text: str) -> str:
    """Escape the characters that act on a terminal, except tabs and line breaks."""
    return ACTING_CHARACTERS.sub(lambda found: format_escape(found[0]), text)


def format_escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escape_cell(text: str) -> str:
    """Escape text for one line of a table: a tab or a line break becomes a space."""
    return escape_control(text).replace("\t", " ").replace("\n", " ")


def first_line(text: str, width: int = 72) -> str:
    """A text on one line, cut to `width` terminal columns."""
    line = " ".join(escape_control(text).split())
    return line if text_width(line) <= width else f"{cut_text(line, width - 1)}{CUT_MARK}"


def text_width(text: str) -> int:
    """The terminal columns that a line takes: 2 for an East Asian character or an emoji, 0 for a combining mark."""
    if text.isascii():
        return len(text)
    width: int = import_module("rich.cells").cell_len(text)
    return width


def pad_text(text: str, width: int) -> str:
    """Pad a line with spaces to `width` terminal columns."""
    return text + " " * (width - text_width(text))


def cut_text(text: str, width: int) -> str:
    """The beginning of a line that takes at most `width` terminal columns, cut between two visible characters."""
    if text.isascii():
        return text[:width]
    kept: list[str] = []
    for grapheme in split_graphemes(text):
        width -= text_width(grapheme)
        if width < 0:
            break
        kept.append(grapheme)
    return "".join(kept)


def split_graphemes(text: str) -> Iterator[str]:
    """Split text into what a reader sees as its characters: a letter with its marks, an emoji of several parts."""
    grapheme = ""
    for character in text:
        if grapheme and not continues_grapheme(grapheme, character):
            yield grapheme
            grapheme = ""
        grapheme += character
    if grapheme:
        yield grapheme


def continues_grapheme(grapheme: str, character: str) -> bool:
    """Whether a character belongs to the visible character before it."""
    if is_regional_indicator(character):  # two of them are a flag
        return is_regional_indicator(grapheme[0]) and len(grapheme) == 1
    return (
        character == JOINER
        or grapheme[-1] == JOINER
        or unicodedata.category(character) in EXTENDING_CATEGORIES  # also the selectors of a variant
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # skin tones
        or "\u1160" <= character <= "\u11ff"  # vowels and final consonants of a Hangul syllable
    )


def is_regional_indicator(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
