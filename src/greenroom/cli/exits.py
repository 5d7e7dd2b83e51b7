"""The one place that turns how a verb ended into an exit code. Must not know any verb."""

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
    CONFLICT: "conflict, or superseded: do not call again with the same arguments",
    UNREACHABLE: "the server cannot be reached",
    NOTHING_YET: "nothing yet: call again",
    NOT_ALLOWED: "not allowed",
    CONFIGURATION: "the configuration is wrong, or it runs already",
    INTERRUPTED: "interrupted",
}


USAGE_CODES = ("usage", "no_claim", "invalid_request", "too_large")
"""What was typed cannot be meant: as this program found out, or the server."""


LOGIN = "To store a token for a server on another machine: greenroom login (it asks for the token)."


class WrongUsage(errors.GreenroomError):
    """What was typed cannot be meant, as only the verb itself could find out."""

    code = "usage"


def code_of(error: errors.GreenroomError) -> int:
    """The exit code for an error. The order counts: the more special kinds stand first."""
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


def explain(error: errors.GreenroomError) -> str:
    """What a person or an agent is told: what is wrong, and what to do next."""
    said = f"error: {error.detail}" + (f"\n{error.guidance}" if error.guidance else "")
    return f"{said}\n{LOGIN}" if error.code == errors.Unauthorized.code else said
