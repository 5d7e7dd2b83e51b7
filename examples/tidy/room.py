"""The programs' interface to Greenroom: reads the task, writes the result, declines, reports progress.

The contract: the text of the task comes on stdin; exit code 0 hands stdout to the next role; any other exit code
releases the task, and it is retried. A run may be killed at any time and retried, so the result is written at once at
the very end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

CALL_S_MAX = 30
REASON_CHARS_MAX = 4000  # the length of a command's argument is limited


class Refused(Exception):
    """The task cannot be done as requested, and a retry does not help; the message tells the user what to change."""


class CommandFailed(Exception):
    """A command failed unexpectedly; a retry may help."""


def run(work: Callable[[str], str]) -> None:
    """Do one task: text in, text out. `Refused` declines the task, `CommandFailed` releases it for a retry."""
    try:
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
        result = work(_without_nul(text))
    except Refused as refusal:
        reason = str(refusal)[:REASON_CHARS_MAX]
        print(reason, file=sys.stderr)
        # A declined task is quarantined until a user decides, and this exit changes nothing. If the call failed, exit
        # code 1 leads there more slowly: the third failure of a task quarantines it, with the reason printed above.
        sys.exit(0 if _call_greenroom("decline", reason) else 1)
    except CommandFailed as failure:
        print(failure, file=sys.stderr)
        sys.exit(1)
    sys.stdout.buffer.write(_without_nul(result).encode("utf-8", "replace"))
    sys.stdout.buffer.flush()


def report_progress(text: str) -> None:
    """Show users the progress. Nothing depends on it, so a failure is ignored."""
    _call_greenroom("report-progress", text)


def _without_nul(text: str) -> str:
    return text.replace("\0", "\N{SYMBOL FOR NULL}")  # neither a message nor an argument may contain one


def _call_greenroom(*arguments: str) -> bool:
    """Run the greenroom command. False if this run has no task, or the command is missing or failed."""
    if "GREENROOM_TASK" not in os.environ:
        return False
    beside_python = str(Path(sys.executable).parent)
    command = shutil.which("greenroom") or shutil.which("greenroom", path=beside_python)
    if command is None:
        return False
    try:
        process = subprocess.run(
            [command, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=CALL_S_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return process.returncode == 0
