"""What a command itself says of how its run ended, in data. Must not know who ran it, nor what is done about it.

It comes from the file that the command finds named in `GREENROOM_RESULT`, or, where its harness says in which format,
from what it printed. A log is never read: what a model writes there is no fact. Where a command said something and it
makes no sense, that is a failed result which says so, since whoever wrote it meant something.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from greenroom.client import printed
from greenroom.client.printed import DONE, FAILED, LOGIN_REQUIRED, RATE_LIMITED, Result
from greenroom.clock import instant_of, seconds_of
from greenroom.domain.reliability import DEFAULTS
from greenroom.process.output import end_of

__all__ = ["DONE", "FAILED", "LOGIN_REQUIRED", "RATE_LIMITED", "VARIABLE", "Result", "read_result"]

VARIABLE: Final = "GREENROOM_RESULT"
RESULT_BYTES_MAX: Final = 8 * 1024 * 1024
"""More than this is not read: of a file it makes no sense, of what was printed the end is enough."""

REASON_BYTES_MAX: Final = 4096


class Told(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file as it is spelled."""

    status: Literal["done", "failed", "rate_limited", "login_required"]
    until: Annotated[str, Meta(max_length=40)] | None = None
    reason: Annotated[str, Meta(max_length=16 * 1024)] | None = None
    text: str | None = None


class Senseless(ValueError):
    """What was said cannot be meant; the text says why."""


def read_result(
    format: str | None, result_file: Path, stdout: Path, text_bytes_max: int = DEFAULTS.text_bytes_max
) -> Result | None:
    """What the command said of its end; None when it said nothing, and its exit code is all there is.

    The file counts more than what was printed. `text` is cut to `text_bytes_max` bytes in its middle. With a format
    there is always a result: a command that should have printed one and did not has failed, whatever its exit code.
    """
    try:
        result = read_file(result_file)
        if result is None and format is not None:
            result = read_printed(format, stdout)
    except Senseless as error:
        return Result(status=FAILED, reason=str(error))
    if result is None:
        return None
    text = None if result.text is None else shorten(clean(result.text), text_bytes_max)
    return msgspec.structs.replace(result, reason=shorten(clean(result.reason), REASON_BYTES_MAX), text=text)


def read_file(path: Path) -> Result | None:
    """What the file says; None where there is none, or an empty one. Raises Senseless."""
    try:
        raw = read_bounded(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Senseless(f"The result file cannot be read: {error.strerror}.") from error
    if not raw.strip():
        return None
    try:
        told = msgspec.json.decode(raw, type=Told)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Senseless(f"The result file makes no sense: {error}.") from error
    return Result(
        status=told.status,
        until=None if told.until is None else settle_until(told),
        reason=told.reason or "",
        text=told.text,
    )


def settle_until(told: Told) -> str:
    """The instant as we spell it. Raises Senseless for one without a zone, and where nothing is to be waited for."""
    assert told.until is not None
    if told.status != RATE_LIMITED:
        raise Senseless(f"The result file makes no sense: `until` says nothing beside the status {told.status!r}.")
    try:
        if not told.until.endswith("Z") and "+" not in told.until[10:] and "-" not in told.until[10:]:
            raise ValueError
        return instant_of(seconds_of(told.until))
    except (ValueError, OverflowError):
        raise Senseless(
            f"The result file makes no sense: `until` is {told.until!r}, and should be an instant with its zone, "
            "as in 2026-11-20T23:46:34Z."
        ) from None


def read_printed(format: str, stdout: Path) -> Result:
    """What the command printed in the format of its harness. Raises Senseless where that is nothing of the kind."""
    read = printed.FORMATS.get(format)
    if read is None:
        raise Senseless(f"This version of Greenroom knows no format {format!r}, in which the command prints its end.")
    try:
        result = read(list(objects_in(end_of(stdout, RESULT_BYTES_MAX))))
    except OSError as error:
        raise Senseless(f"What the command printed cannot be read: {error.strerror}.") from error
    if result is None:
        raise Senseless(f"The command printed no result in the format {format!r}, which its harness says it prints.")
    return result


def objects_in(raw: bytes) -> Iterator[Mapping[str, Any]]:
    """The JSON objects that were printed, one to a line, a list of them being all of them.

    What is none is left out, also the first line where it is only the end of one.
    """
    for line in raw.splitlines():
        try:
            value = msgspec.json.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Mapping):
                yield item


def read_bounded(path: Path) -> bytes:
    """The whole of a plain file. Raises OSError, and Senseless for what is too long or would never end."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise Senseless("The result file makes no sense: it is no plain file.")
        raw = file.read(RESULT_BYTES_MAX + 1)
    if len(raw) > RESULT_BYTES_MAX:
        raise Senseless(f"The result file makes no sense: it is longer than {RESULT_BYTES_MAX} bytes.")
    return raw


def clean(text: str) -> str:
    """Without U+0000, which no text of ours may hold."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}")


def shorten(text: str, bytes_max: int) -> str:
    """The text in at most `bytes_max` bytes of UTF-8: head and tail where it is longer."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= bytes_max:
        return raw.decode()
    remark = f"\n[... the middle of {len(raw)} bytes is left out here ...]\n"
    half = max(0, bytes_max - len(remark)) // 2
    return raw[:half].decode("utf-8", "ignore") + remark + raw[len(raw) - half :].decode("utf-8", "ignore")
