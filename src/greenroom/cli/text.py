"""Reads the text of a message or result: an argument, piped input or a here-document."""

import select
from typing import TextIO

from greenroom.cli.exits import WrongUsage

HINT_AFTER_S = 2.0
NUL = "\0"


def settle_text(typed: str | None, is_required: bool, stdin: TextIO, err: TextIO, bytes_max: int) -> str:
    """The text of a verb: the argument, or standard input if that is `-`, or missing and standard input is piped.

    Raises WrongUsage if a required text is missing or blank, and for a text that no server accepts.
    """
    text = typed
    if typed == "-" or (typed is None and not stdin.isatty()):
        text = read_all(stdin, err, bytes_max)
    if is_required and not (text or "").strip():
        raise WrongUsage("There is no text.", "Give it as the last argument, in quotes, or pipe it in.")
    return check_text(text or "", bytes_max)


def check_text(text: str, bytes_max: int) -> str:
    """Return the text. Raises WrongUsage before anything is sent for a text that no server accepts."""
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise WrongUsage("The text is not UTF-8.", "Convert it, for example with iconv.") from None
    if size > bytes_max:
        raise WrongUsage(
            f"The text has {size} bytes; the limit is {bytes_max}.", "Write it to a file and send its path."
        )
    if NUL in text:
        raise WrongUsage("The text contains U+0000.", "Remove it, for example with: tr -d '\\000'.")
    return text


def read_all(stdin: TextIO, err: TextIO, bytes_max: int) -> str:
    """Read standard input to its end, without its last line break; prints a hint if no input comes for a while."""
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
