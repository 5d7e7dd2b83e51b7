"""Sets up the standard streams of a command: their encoding, and what happens when they are full, closed or gone.

Greenroom reads and writes UTF-8, whatever the locale says: texts, arguments, the environment and file names. What is
not UTF-8 is read with surrogate escapes and written with backslash escapes, so no text fails to be written.

Standard output carries a command's data: it is written whole, a write waits for the reader and raises OSError. Standard
error carries notes: a write never raises, and for an agent's command it waits at most `NOTE_WAIT_S`. Both carry only
notes in a long-running program, which writes them in the background (`background_stream`).
"""

import io
import os
import select
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any, TextIO, cast

from greenroom.cli.display_text import escape_control

NOTE_WAIT_S = 1.0
NOTE_BYTES_AT_ONCE = 512
"""A pipe or terminal that is ready takes so many bytes without waiting: the least that POSIX allows for `PIPE_BUF`."""


class DataFile(io.FileIO):
    """Standard output: a write waits also where the descriptor is non-blocking, because another process made it so."""

    def write(self, content: Any, /) -> int:
        while (written := super().write(content)) is None:
            select.select([], [self.fileno()], [])
        return written


class NoteFile(io.FileIO):
    """Standard error: what cannot be written is dropped. `wait_s` is how long a full reader is waited for.

    Once that time was over, nothing is waited for until the reader takes something again.
    """

    wait_s: float | None = None
    _is_stuck = False

    def write(self, content: Any, /) -> int:
        left = memoryview(content).cast("B")
        size = len(left)
        with suppress(OSError, ValueError):
            while left and self._is_ready():
                left = left[super().write(left[:NOTE_BYTES_AT_ONCE]) or 0 :]
        return size

    def _is_ready(self) -> bool:
        wait_s = 0.0 if self._is_stuck else self.wait_s
        self._is_stuck = not select.select([], [self.fileno()], [], wait_s)[1]
        return not self._is_stuck


class EscapedText(io.TextIOWrapper):
    """A text stream that escapes what acts on a terminal."""

    def write(self, text: str, /) -> int:
        super().write(escape_control(text))
        return len(text)


class DrawnText:
    """The stream below an `EscapedText`, for a library that draws with a terminal's control sequences."""

    def __init__(self, stream: EscapedText) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return io.TextIOWrapper.write(self._stream, text)


def drawable(out: TextIO) -> TextIO:
    """The stream on which a library may draw with control sequences."""
    return cast(TextIO, DrawnText(out)) if isinstance(out, EscapedText) else out


def set_up_streams() -> None:
    """Set up the standard streams of this process for any command. May replace the process's program by itself.

    Where the locale's encoding is not UTF-8, Python has decoded arguments, environment and file names by it already:
    the command is run again, as the same process, in Python's UTF-8 mode.
    """
    if sys.getfilesystemencoding() != "utf-8" and sys.executable:
        with suppress(OSError):
            os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    replace_closed_streams()
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    out = io.BufferedWriter(DataFile(1, "wb", closefd=False))
    is_terminal = os.isatty(1)
    text_class = EscapedText if is_terminal else io.TextIOWrapper
    sys.stdout = text_class(out, "utf-8", "backslashreplace", line_buffering=is_terminal)
    err = io.BufferedWriter(NoteFile(2, "wb", closefd=False))
    sys.stderr = EscapedText(err, "utf-8", "backslashreplace", line_buffering=True)


def limit_note_wait() -> None:
    """Have this process wait at most `NOTE_WAIT_S` for the reader of standard error."""
    file = getattr(sys.stderr.buffer, "raw", None)
    if isinstance(file, NoteFile):
        file.wait_s = NOTE_WAIT_S


def write_in_background() -> None:
    """Have this process write both output streams in the background; to one file, in the order of the writes."""
    stream_class = import_module("greenroom.cli.background_stream").BackgroundStream
    sys.stderr = stream_class(2)
    sys.stdout = sys.stderr if is_same_file(1, 2) else stream_class(1)


def is_same_file(first: int, second: int) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(first), os.fstat(second))
    return False


def replace_closed_streams() -> None:
    """Replace closed standard streams.

    Python has None for them, and the next file or socket to be opened would get their descriptor. Standard input is
    then empty, standard error discards, and a write to standard output fails, so that the verb reports lost data.
    """
    # In the order of their descriptors: each opens the lowest one that is free.
    sys.stdin = sys.stdin or os.fdopen(os.open(os.devnull, os.O_RDONLY), "r", encoding="utf-8")
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")


def discard_output(out: TextIO) -> None:
    """Discard what could not be written. Otherwise Python would write it again at exit, and print an error."""
    with suppress(OSError, ValueError):  # `out` may have no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
