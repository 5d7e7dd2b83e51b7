"""The exit codes of all verbs, and the mapping of errors to them."""

from greenroom.domain import errors

DONE = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
CONFLICT = 4
UNREACHABLE = 69
NOTHING_YET = 75
NOT_ALLOWED = 77
CONFIGURATION = 78
INTERRUPTED = 130

MEANINGS = {
    DONE: "done",
    FAILED: "failed",
    USAGE: "wrong usage",
    NOT_FOUND: "not found",
    CONFLICT: "conflict, or superseded: do not retry with the same arguments",
    UNREACHABLE: "the server cannot be reached",
    NOTHING_YET: "nothing yet: call again",
    NOT_ALLOWED: "not allowed",
    CONFIGURATION: "invalid configuration, or already running",
    INTERRUPTED: "interrupted",
}


USAGE_CODES = ("usage", "no_claim", "invalid_request", "too_large")
"""Codes of errors in what the user typed, found by this program or by the server."""


LOGIN_HINT = "To store a token for a server on another machine: greenroom login (it asks for the token)."


class UsageError(errors.GreenroomError):
    """An error in the arguments that the verb itself finds, not the parser."""

    code = "usage"


def exit_code(error: errors.GreenroomError) -> int:
    """The exit code for an error. The order matters: subclasses are tested before their base classes."""
    if isinstance(error, errors.NotFound):
        return NOT_FOUND
    if error.code in USAGE_CODES:
        return USAGE
    if isinstance(error, errors.Conflict):
        return CONFLICT
    if isinstance(error, errors.Refused):
        return NOT_ALLOWED
    if isinstance(error, errors.ConfigurationError):
        return CONFIGURATION
    if isinstance(error, errors.Unavailable) and error.code == "unreachable":
        return UNREACHABLE
    return FAILED


def format_error(error: errors.GreenroomError) -> str:
    """Format an error for users and agents: what is wrong, then what to do next."""
    text = f"error: {error.detail}" + (f"\n{error.guidance}" if error.guidance else "")
    return f"{text}\n{LOGIN_HINT}" if error.code == errors.Unauthorized.code else text
