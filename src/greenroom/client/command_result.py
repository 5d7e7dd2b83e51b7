"""Reads the result that a command reports of its own run, as data.

It comes from the file that `GREENROOM_RESULT` names, or, if the command's harness has a result format, from what the
command printed. A log is never searched: what a model writes there is not reliable. An invalid result counts as a
failed one that says why it is invalid: the command meant to report something.

Options: `text_bytes_max`.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from greenroom.client import agent_cli_output
from greenroom.client.agent_cli_output import DONE, FAILED, LOGIN_REQUIRED, RATE_LIMITED, CommandResult
from greenroom.clock import format_instant, parse_instant
from greenroom.domain.limits import DEFAULT_LIMITS
from greenroom.process.run_folder import read_last_bytes

__all__ = ["DONE", "FAILED", "LOGIN_REQUIRED", "RATE_LIMITED", "RESULT_VARIABLE", "CommandResult", "read_result"]

RESULT_VARIABLE: Final = "GREENROOM_RESULT"
RESULT_BYTES_MAX: Final = 8 * 1024 * 1024
"""The most that is read: a longer file is invalid; of printed output the end is read."""

REASON_BYTES_MAX: Final = 4096


class ResultFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file's JSON object."""

    status: Literal["done", "failed", "rate_limited", "login_required"]
    until: Annotated[str, Meta(max_length=40)] | None = None
    reason: Annotated[str, Meta(max_length=16 * 1024)] | None = None
    text: str | None = None


class InvalidResult(ValueError):
    """The result is invalid; the text says why."""


def read_result(
    format: str | None, result_file: Path, stdout: Path, text_bytes_max: int = DEFAULT_LIMITS.text_bytes_max
) -> CommandResult | None:
    """Return the command's own result; None if it reported none, so that only its exit code is left.

    The file takes precedence over what was printed. `text` is cut in its middle to `text_bytes_max` bytes. With a
    format there is always a result: a command that should have printed one and did not has failed, whatever its exit
    code.
    """
    try:
        result = read_file(result_file)
        if result is None and format is not None:
            result = read_printed(format, stdout)
    except InvalidResult as error:
        return CommandResult(status=FAILED, reason=str(error))
    if result is None:
        return None
    text = None if result.text is None else shorten(remove_nul(result.text), text_bytes_max)
    return msgspec.structs.replace(result, reason=shorten(remove_nul(result.reason), REASON_BYTES_MAX), text=text)


def read_file(path: Path) -> CommandResult | None:
    """Read the file; None if there is none, or an empty one. Raises Senseless."""
    try:
        raw = read_bounded(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidResult(f"The result file cannot be read: {error.strerror}.") from error
    if not raw.strip():
        return None
    try:
        document = msgspec.json.decode(raw, type=ResultFile)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidResult(f"The result file is invalid: {error}.") from error
    return CommandResult(
        status=document.status,
        until=None if document.until is None else parse_until(document),
        reason=document.reason or "",
        text=document.text,
    )


def parse_until(document: ResultFile) -> str:
    """Return the instant in Greenroom's own format. Raises Senseless for one without a zone, or with another status."""
    assert document.until is not None
    if document.status != RATE_LIMITED:
        raise InvalidResult(
            f"The result file is invalid: `until` needs the status {RATE_LIMITED!r}, not {document.status!r}."
        )
    try:
        if not document.until.endswith("Z") and "+" not in document.until[10:] and "-" not in document.until[10:]:
            raise ValueError
        return format_instant(parse_instant(document.until))
    except (ValueError, OverflowError):
        raise InvalidResult(
            f"The result file is invalid: `until` is {document.until!r}, and must be an instant with its zone, "
            "as in 2026-11-20T23:46:34Z."
        ) from None


def read_printed(format: str, stdout: Path) -> CommandResult:
    """Parse what the command printed, in the format of its harness. Raises Senseless if that is no result."""
    parse = agent_cli_output.FORMATS.get(format)
    if parse is None:
        raise InvalidResult(f"Unknown result format {format!r}: this version of Greenroom cannot read it.")
    try:
        result = parse(list(iterate_objects(read_last_bytes(stdout, RESULT_BYTES_MAX))))
    except OSError as error:
        raise InvalidResult(f"The output of the command cannot be read: {error.strerror}.") from error
    if result is None:
        raise InvalidResult(f"The command printed no result in the format {format!r}, which its harness sets.")
    return result


def iterate_objects(raw: bytes) -> Iterator[Mapping[str, Any]]:
    """Yield the JSON objects that were printed, one per line; a line with a list yields its items.

    Anything else is skipped, also a first line that is only the end of an object.
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
    """Return the content of a regular file. Raises OSError, and Senseless for a file too long or not regular."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InvalidResult("The result file is invalid: it is not a regular file.")
        raw = file.read(RESULT_BYTES_MAX + 1)
    if len(raw) > RESULT_BYTES_MAX:
        raise InvalidResult(f"The result file is invalid: it is longer than {RESULT_BYTES_MAX} bytes.")
    return raw


def remove_nul(text: str) -> str:
    """Return the text without U+0000, which no text in Greenroom may hold."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}")


def shorten(text: str, bytes_max: int) -> str:
    """Return the text in at most `bytes_max` bytes of UTF-8: head and tail if it is longer."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= bytes_max:
        return raw.decode()
    remark = f"\n[... the middle of {len(raw)} bytes is left out here ...]\n"
    half = max(0, bytes_max - len(remark)) // 2
    return raw[:half].decode("utf-8", "ignore") + remark + raw[len(raw) - half :].decode("utf-8", "ignore")
