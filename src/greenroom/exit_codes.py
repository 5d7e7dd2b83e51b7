"""The exit codes of all commands, each with its meaning. `docs/cli.md` has the same table, generated from this one.

Those above 64 are the codes of sysexits.h, as far as it has one for the meaning; 130 is what a shell makes of SIGINT.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command that has ended reports. Programs and agents decide by it what to do next."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> "ExitCode":
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = 0, "done"
    FAILED = 1, "failed"
    USAGE = 2, "wrong usage"
    NOT_FOUND = 3, "not found"
    CONFLICT = 4, "conflict, or superseded: do not retry with the same arguments"
    UNREACHABLE = 69, "the server cannot be reached"
    NOTHING_YET = 75, "nothing yet: call again"
    NOT_ALLOWED = 77, "not allowed"
    CONFIGURATION = 78, "invalid configuration, or already running"
    INTERRUPTED = 130, "interrupted"
