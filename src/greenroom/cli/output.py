"""Prints answers: JSON, lines of text, times of day.

Data goes to standard output (`out`), hints and errors to standard error (`err`). Control characters in texts of agents
and servers are escaped, so that a message cannot move the reader's cursor.
"""

from collections.abc import Iterable
from typing import Any, TextIO

import msgspec

CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x09, 0x0A)}


def print_json(out: TextIO, data: Any) -> None:
    """Print one JSON document, indented for people."""
    print(msgspec.json.format(msgspec.json.encode(data), indent=2).decode(), file=out)


def print_json_line(out: TextIO, data: Any) -> None:
    """Print one JSON document on one line of a stream (NDJSON), and flush."""
    print(msgspec.json.encode(data).decode(), file=out, flush=True)


def print_lines(out: TextIO, lines: Iterable[str]) -> None:
    for line in lines:
        print(visible(line), file=out)


def visible(text: str) -> str:
    """Escape control characters except tabs and line breaks."""
    return text.translate(CONTROL)


def first_line(text: str, width: int = 72) -> str:
    """A text on one line, cut to `width` characters."""
    line = " ".join(visible(text).split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def clock_time(instant: str | None) -> str:
    """The time of day of an instant, in UTC to the second: `10:05:00Z`; `-` for None."""
    return "-" if not instant else f"{instant[11:19]}Z"
