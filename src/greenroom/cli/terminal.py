"""Reads and writes for the terminal: prints answers, reads the text of a verb, formats times, durations and sizes.

Data goes to standard output (`out`), hints and errors to standard error (`err`); `standard_streams` sets both up.
"""

import contextlib
import fcntl
import io
import os
import select
import stat
import sys
import termios
from collections.abc import Iterable
from typing import Any, TextIO

import msgspec

from greenroom.cli.display_text import escape_control
from greenroom.cli.errors import UsageError
from greenroom.clock import parse_instant

HINT_AFTER_S = 2.0
NUL = "\0"

UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def print_json(out: TextIO, data: Any) -> None:
    """Print one JSON document, indented for people."""
    print(msgspec.json.format(msgspec.json.encode(data), indent=2).decode(), file=out)


def print_json_line(out: TextIO, data: Any) -> None:
    """Print one JSON document on one line of a stream (NDJSON), and flush."""
    print(msgspec.json.encode(data).decode(), file=out, flush=True)


def print_lines(out: TextIO, lines: Iterable[str]) -> None:
    for line in lines:
        print(escape_control(line), file=out)


def format_clock_time(instant: str | None) -> str:
    """The time of day of an instant, in UTC to the second: `10:05:00Z`; `-` for None."""
    return "-" if not instant else f"{instant[11:19]}Z"


def read_text(typed: str | None, is_required: bool, stdin: TextIO, err: TextIO, bytes_max: int) -> str:
    """The text of a verb: the argument, or standard input if that is `-`.

    Without an argument standard input is not read: it may be a pipe that is never closed, or belong to a loop of the
    caller. A note says so if a text waits there.

    Raises WrongUsage if a required text is missing or blank, and for a text that no server accepts.
    """
    text = read_stdin(stdin, err, bytes_max) if typed == "-" else typed or ""
    if is_required and not text.strip():
        raise UsageError(
            "There is no text.", "Give it as the last argument, in quotes; or give `-` there and pipe the text in."
        )
    if typed is None and count_waiting_bytes(stdin) > 0:
        print("note: standard input was not read; to send it as the text, give `-`.", file=err, flush=True)
    return check_text(text, bytes_max)


def count_waiting_bytes(stdin: TextIO) -> int:
    """How many bytes can be read from a pipe or file without waiting; 0 for anything else."""
    try:
        state = os.fstat(stdin.fileno())
        if stat.S_ISFIFO(state.st_mode):
            return int.from_bytes(fcntl.ioctl(stdin.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder)
        return state.st_size - os.lseek(stdin.fileno(), 0, os.SEEK_CUR) if stat.S_ISREG(state.st_mode) else 0
    except (OSError, ValueError):  # it is closed, or has no descriptor
        return 0


def check_text(text: str, bytes_max: int) -> str:
    """Return the text. Raises WrongUsage before anything is sent for a text that no server accepts."""
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise UsageError("The text is not UTF-8.", "Convert it, for example with iconv.") from None
    if size > bytes_max:
        raise UsageError(
            f"The text has {size} bytes; the limit is {bytes_max}.", "Write it to a file and send its path."
        )
    if NUL in text:
        raise UsageError("The text contains U+0000.", "Remove it, for example with: tr -d '\\000'.")
    return text


def read_stdin(stdin: TextIO, err: TextIO, bytes_max: int) -> str:
    """Read standard input to its end, without its last line break; prints a hint if no input comes for a while."""
    source = stdin.buffer
    print_if_waiting(stdin, err, "waiting for the text on standard input (give it as an argument to avoid this)")
    content = source.read(bytes_max + 2)
    if len(content) > bytes_max + 1:
        raise UsageError(f"The text is longer than {bytes_max} bytes.", "Write it to a file and send its path.")
    try:
        return content.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        raise UsageError("The text on standard input is not UTF-8.", "Convert it, for example with iconv.") from None


def print_if_waiting(stdin: TextIO, err: TextIO, line: str) -> None:
    """Print a line if standard input is no terminal, and no input comes for a while."""
    with contextlib.suppress(io.UnsupportedOperation):  # it is in memory
        if not stdin.isatty() and not select.select([stdin], [], [], HINT_AFTER_S)[0]:
            print(line, file=err, flush=True)


def format_duration(seconds: float) -> str:
    """Format seconds in at most two adjacent units: `45 s`, `4 min 10 s`, `2 h`, `3 d 4 h`."""
    left = max(0, round(seconds))
    parts: list[str] = []
    for length, unit in UNITS:
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break  # `1 d 5 s` suggests a precision that it does not have
    return " ".join(parts[:2]) or "0 s"


def seconds_until(instant: str, now: float) -> float:
    """Seconds from `now`, a reading of this machine's wall clock, to an instant; negative when it is past."""
    return parse_instant(instant) - now


def format_size(count: int) -> str:
    """Format bytes in the largest unit that fits: `1023 B`, `1.5 KiB`, `3.0 GiB`."""
    for length, unit in SIZES:
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} B"
