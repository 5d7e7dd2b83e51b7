"""How answers are printed. Knows JSON and terminals; must not know what is printed.

Data goes to `out`, talk to `err`. What agents and servers wrote is shown with its control characters made visible: a
message must not be able to move the cursor of whoever reads it.
"""

from collections.abc import Iterable
from typing import Any, TextIO

import msgspec

CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x09, 0x0A)}


def print_json(out: TextIO, data: Any) -> None:
    """Print one document, indented for people who look at it after all."""
    print(msgspec.json.format(msgspec.json.encode(data), indent=2).decode(), file=out)


def print_json_line(out: TextIO, data: Any) -> None:
    """Print one line of a stream (NDJSON), at once."""
    print(msgspec.json.encode(data).decode(), file=out, flush=True)


def print_lines(out: TextIO, lines: Iterable[str]) -> None:
    for line in lines:
        print(visible(line), file=out)


def visible(text: str) -> str:
    """Spell control characters out, but for tabs and line breaks."""
    return text.translate(CONTROL)


def first_line(text: str, width: int = 72) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(visible(text).split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def clock_time(instant: str | None) -> str:
    """The time of day of an instant, in UTC, to the second."""
    return "-" if not instant else f"{instant[11:19]}Z"
