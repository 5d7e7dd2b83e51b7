"""The standard streams of a process whose starter may have closed them. Must not know what is said on them."""

import os
import sys
from contextlib import suppress
from typing import TextIO


def settle_streams() -> None:
    """Let something stand where there is no stream.

    Python has None there, and the next file or socket that is opened would get the number of that stream. There is
    nothing to read; talk goes nowhere, as it was wished; and data is refused, so that a verb knows of it.
    """
    # In the order of their numbers: each takes the lowest one that is free.
    sys.stdin = sys.stdin or os.fdopen(os.open(os.devnull, os.O_RDONLY), "r", encoding="utf-8")
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")


def hush(out: TextIO) -> None:
    """Let what could not be written go: Python would try once more when it ends, and complain once more."""
    with suppress(OSError, ValueError):  # it may be no file at all
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
