"""Reads the text of a message or result: typed, piped or from a here-document. Must not know what it is for."""

import select
from typing import TextIO

from greenroom.cli.exits import WrongUsage

BYTES_MAX = 7 * 1024 * 1024
HINT_AFTER_S = 2.0


def settle_text(typed: str | None, is_required: bool, stdin: TextIO, err: TextIO) -> str:
    """The text that was meant: what was typed, or with `-` or nothing typed what is piped in.

    Raises WrongUsage where there is none and one is needed.
    """
    text = typed
    if typed == "-" or (typed is None and not stdin.isatty()):
        text = read_all(stdin, err)
    if is_required and not (text or "").strip():
        raise WrongUsage("There is no text.", "Give it as the last argument, in quotes, or pipe it in.")
    return text or ""


def read_all(stdin: TextIO, err: TextIO) -> str:
    """Read standard input to its end, without its last line break. Says so when nothing comes for a while."""
    source = stdin.buffer
    if not stdin.isatty() and not select.select([source], [], [], HINT_AFTER_S)[0]:
        print("waiting for the text on standard input (give it as an argument to avoid this)", file=err, flush=True)
    content = source.read(BYTES_MAX + 1)
    if len(content) > BYTES_MAX:
        raise WrongUsage(f"The text is longer than {BYTES_MAX} bytes.", "Write it to a file and send its path.")
    try:
        return content.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        raise WrongUsage("The text on standard input is not UTF-8.", "Convert it, for example with iconv.") from None
