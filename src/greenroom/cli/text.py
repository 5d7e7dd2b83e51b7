"""Reads the text of a message or result: typed, piped or from a here-document. Must not know what it is for."""

import select
from typing import TextIO

from greenroom.cli.exits import WrongUsage

HINT_AFTER_S = 2.0
NUL = "\0"


def settle_text(typed: str | None, is_required: bool, stdin: TextIO, err: TextIO, bytes_max: int) -> str:
    """The text that was meant: what was typed, or with `-` or nothing typed what is piped in.

    Raises WrongUsage where there is none and one is needed, and for what no server takes as a text.
    """
    text = typed
    if typed == "-" or (typed is None and not stdin.isatty()):
        text = read_all(stdin, err, bytes_max)
    if is_required and not (text or "").strip():
        raise WrongUsage("There is no text.", "Give it as the last argument, in quotes, or pipe it in.")
    return check_text(text or "", bytes_max)


def check_text(text: str, bytes_max: int) -> str:
    """Return the text. Raises WrongUsage for what no server takes: it is better told before anything is sent."""
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise WrongUsage("The text is not UTF-8.", "Convert it, for example with iconv.") from None
    if size > bytes_max:
        raise WrongUsage(
            f"The text has {size} bytes, and may have {bytes_max}.", "Write it to a file and send its path."
        )
    if NUL in text:
        raise WrongUsage("The text holds a U+0000.", "Take it out, for example with: tr -d '\\000'.")
    return text


def read_all(stdin: TextIO, err: TextIO, bytes_max: int) -> str:
    """Read standard input to its end, without its last line break. Says so when nothing comes for a while."""
    source = stdin.buffer
    if not stdin.isatty() and not select.select([source], [], [], HINT_AFTER_S)[0]:
        print("waiting for the text on standard input (give it as an argument to avoid this)", file=err, flush=True)
    content = source.read(bytes_max + 2)
    if len(content) > bytes_max + 1:
        raise WrongUsage(f"The text is longer than {bytes_max} bytes.", "Write it to a file and send its path.")
    try:
        return content.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        raise WrongUsage("The text on standard input is not UTF-8.", "Convert it, for example with iconv.") from None
