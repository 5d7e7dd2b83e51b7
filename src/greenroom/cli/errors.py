"""Maps errors to the exit codes of commands, and formats them for users and agents."""

from greenroom.domain import errors
from greenroom.exit_codes import ExitCode

SHOWN_AROUND = 20
USAGE_CODES = ("usage", "no_claim", "invalid_request", "too_large")
"""Codes of errors in what the user typed, found by this program or by the server."""


LOGIN_HINT = "To store a token for a server on another machine: greenroom login (it asks for the token)."


class UsageError(errors.GreenroomError):
    """An error in the arguments that the verb itself finds, not the parser."""

    code = "usage"


def describe_foreign_error(error: UnicodeError | RecursionError) -> errors.GreenroomError:
    """The error to show for one of Python's own that the input causes: text that is not UTF-8, or endless nesting."""
    if isinstance(error, RecursionError):
        return UsageError("The input is nested too deeply.", "Take some brackets out of it.")
    if isinstance(error, UnicodeEncodeError) and error.encoding.replace("-", "") != "utf8":
        return errors.GreenroomError(
            f"A text cannot be written in the encoding {error.encoding}: {error.object[error.start : error.end]!a}.",
            "Set a locale with UTF-8: LC_ALL=C.UTF-8.",
        )
    return UsageError(
        f"An argument, a variable or the input is not UTF-8 text: {describe_text(error)}.",
        "Correct it, or convert it, for example with iconv.",
    )


def describe_text(error: UnicodeError) -> str:
    """The text in which the error is, as far as it can be shown."""
    if isinstance(error, UnicodeEncodeError | UnicodeDecodeError):
        begin = max(0, error.start - SHOWN_AROUND)
        return repr(error.object[begin : error.end + SHOWN_AROUND])
    return str(error)


def exit_code(error: errors.GreenroomError) -> ExitCode:
    """The exit code for an error. The order matters: subclasses are tested before their base classes."""
    if isinstance(error, errors.NotFound):
        return ExitCode.NOT_FOUND
    if error.code in USAGE_CODES:
        return ExitCode.USAGE
    if isinstance(error, errors.Conflict):
        return ExitCode.CONFLICT
    if isinstance(error, errors.Refused):
        return ExitCode.NOT_ALLOWED
    if isinstance(error, errors.ConfigurationError):
        return ExitCode.CONFIGURATION
    if isinstance(error, errors.Unavailable) and error.code == "unreachable":
        return ExitCode.UNREACHABLE
    return ExitCode.FAILED


def format_error(error: errors.GreenroomError) -> str:
    """Format an error for users and agents: what is wrong, then what to do next."""
    text = f"error: {error.detail}" + (f"\n{error.guidance}" if error.guidance else "")
    return f"{text}\n{LOGIN_HINT}" if error.code == errors.Unauthorized.code else text
