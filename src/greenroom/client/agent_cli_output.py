"""Parsers for the results that agent CLIs print, one for each format.

Each format was recorded by running that CLI against a small test API, and the records are the data of the parser's
tests: Claude Code 2.1.197 and opencode 1.18.33. A parser judges only fields that hold a status or a word of a fixed
list, never a sentence. Some CLIs therefore have no format here: `codex exec --json` (0.169.0) reports a rate limit in
prose only, and qwen-code (0.15.10) reports a refused login as a success.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from greenroom.clock import format_instant

# The statuses of a result.
DONE: Final = "done"
FAILED: Final = "failed"
RATE_LIMITED: Final = "rate_limited"
LOGIN_REQUIRED: Final = "login_required"

STATUS_OF_HTTP: Final = {401: LOGIN_REQUIRED, 429: RATE_LIMITED}
"""What a refusal of an API means, by its HTTP status. A 403 can mean too many things to be included."""

Objects = Sequence[Mapping[str, Any]]
Record = TypeVar("Record", bound=msgspec.Struct)


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended, as the command reported it. `until`: when a rate limit ends (ISO 8601), None if not reported."""

    status: str
    until: str | None = None
    reason: str = ""
    text: str | None = None


# Claude Code: `claude -p --output-format json`, or better `--output-format stream-json --verbose`: its messages
# distinguish a missing login from other failures and say when a limit ends; `json` does neither.

CLAUDE_ERRORS: Final = {
    "rate_limit": RATE_LIMITED,
    "authentication_failed": LOGIN_REQUIRED,
    "billing_error": LOGIN_REQUIRED,  # without credit, as without a login, a user has to act
}


class ClaudeResult(msgspec.Struct, frozen=True):
    """The last object that it prints. Its `subtype` is `success` also if the API refused."""

    subtype: str
    is_error: bool
    result: str = ""
    api_error_status: int | None = None


class ClaudeMessage(msgspec.Struct, frozen=True):
    """A message of the model, or one in its place: `error` is what happened instead."""

    error: str | None = None
    parent_tool_use_id: str | None = None


class ClaudeLimit(msgspec.Struct, frozen=True, rename={"resets_at": "resetsAt"}):
    """What the API reported about the account's limits; `resets_at` is in seconds since the epoch."""

    status: str
    resets_at: Annotated[float, Meta(gt=0, lt=1e11)] | None = None


class ClaudeLimitEvent(msgspec.Struct, frozen=True):
    rate_limit_info: ClaudeLimit


def parse_claude_code(objects: Objects) -> CommandResult | None:
    """Return the result that Claude Code printed; None if it printed none."""
    final = find_last(objects, "result", ClaudeResult)
    if final is None:
        return None
    if not final.is_error and final.subtype == "success":
        return CommandResult(status=DONE, text=final.result)
    top_level = [item for item in find_all(objects, "assistant", ClaudeMessage) if item.parent_tool_use_id is None]
    error = top_level[-1].error if top_level else None
    status = CLAUDE_ERRORS.get(error or "") or STATUS_OF_HTTP.get(final.api_error_status or 0, FAILED)
    until = None
    if status == RATE_LIMITED:
        limits = [item.rate_limit_info for item in find_all(objects, "rate_limit_event", ClaudeLimitEvent)]
        resets = [item.resets_at for item in limits if item.status == "rejected" and item.resets_at is not None]
        until = format_instant(resets[-1]) if resets else None
    return CommandResult(status=status, until=until, reason=final.result or final.subtype)


# opencode: `opencode run --format json`. It waits until a rate limit ends, however long, and prints nothing about it.


class OpencodePart(msgspec.Struct, frozen=True, rename={"message": "messageID"}):
    text: str
    message: str


class OpencodeText(msgspec.Struct, frozen=True):
    part: OpencodePart


class OpencodeErrorData(msgspec.Struct, frozen=True, rename={"status": "statusCode"}):
    message: str = ""
    status: int | None = None


class OpencodeError(msgspec.Struct, frozen=True):
    name: str
    data: OpencodeErrorData = OpencodeErrorData()


class OpencodeErrorEvent(msgspec.Struct, frozen=True):
    error: OpencodeError


def parse_opencode(objects: Objects) -> CommandResult | None:
    """Return what opencode printed: an error, else the text of its last message once a step has finished; else None."""
    event = find_last(objects, "error", OpencodeErrorEvent)
    if event is not None:
        error = event.error
        status = STATUS_OF_HTTP.get(error.data.status or 0, FAILED)
        return CommandResult(status=status, reason=error.data.message or error.name)
    if not any(item.get("type") == "step_finish" for item in objects):
        return None
    parts = [item.part for item in find_all(objects, "text", OpencodeText)]
    return CommandResult(status=DONE, text="\n".join(item.text for item in parts if item.message == parts[-1].message))


def find_all(objects: Objects, kind: str, shape: type[Record]) -> list[Record]:
    """Return the objects of one type that have the expected shape."""
    found = []
    for item in objects:
        if item.get("type") == kind:
            try:
                found.append(msgspec.convert(item, shape))
            except msgspec.ValidationError:
                continue
    return found


def find_last(objects: Objects, kind: str, shape: type[Record]) -> Record | None:
    """Return the last object of one type; None if there is none."""
    found = find_all(objects, kind, shape)
    return found[-1] if found else None


FORMATS: Final[dict[str, Callable[[Objects], CommandResult | None]]] = {
    "claude-code": parse_claude_code,
    "opencode": parse_opencode,
}
"""The parsers, by the name in a harness's `result`."""
