"""Replaces standard streams that the parent process has closed."""

import os
import sys
from contextlib import suppress
from typing import TextIO


def settle_streams() -> None:
    """Replace closed standard streams.

    Python has None for them, and the next file or socket to be opened would get their descriptor. Standard input is
    then empty, standard error discards, and a write to standard output fails, so that the verb reports lost data.
    """
    # In the order of their descriptors: each opens the lowest one that is free.
    sys.stdin = sys.stdin or os.fdopen(os.open(os.devnull, os.O_RDONLY), "r", encoding="utf-8")
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")


def hush(out: TextIO) -> None:
    """Discard what could not be written. Otherwise Python would write it again at exit, and print an error."""
    with suppress(OSError, ValueError):  # `out` may have no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
