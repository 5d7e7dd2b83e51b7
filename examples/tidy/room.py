"""Knows how a program talks with the room it works for; knows nothing of git, ruff or tests.

The contract: the task's text comes on stdin; exit 0 hands stdout to the next role; any other exit gives the task back
to be tried again. A run may be killed at any byte and started anew, so the answer is written in one go at the very end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

CALL_S_MAX = 30
REASON_CHARS_MAX = 4000  # an argument of a command has its limits


class Refused(Exception):
    """The task cannot be done as it was asked, however often it is tried; the text tells a person what to change."""


class CommandFailed(Exception):
    """A command that should have worked did not; trying again may help."""


def run(work: Callable[[str], str]) -> None:
    """Do one task: text in, text out. A refusal declines the task, a failed command gives it back."""
    try:
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
        answer = work(_without_nul(text))
    except Refused as refusal:
        reason = str(refusal)[:REASON_CHARS_MAX]
        print(reason, file=sys.stderr)
        # Declined, the task waits for a person and this exit adds nothing. If the room could not be told, failing
        # leads to the same end more slowly: the third death of a task quarantines it, with the words above.
        sys.exit(0 if _tell("decline", reason) else 1)
    except CommandFailed as failure:
        print(failure, file=sys.stderr)
        sys.exit(1)
    sys.stdout.buffer.write(_without_nul(answer).encode("utf-8", "replace"))
    sys.stdout.buffer.flush()


def report_progress(text: str) -> None:
    """Let people see what goes on. Nothing depends on it, so a failure is passed over."""
    _tell("report-progress", text)


def _without_nul(text: str) -> str:
    return text.replace("\0", "\N{SYMBOL FOR NULL}")  # neither a message nor an argument can hold one


def _tell(*arguments: str) -> bool:
    """Call the greenroom command; False when there is no room, no such command, or it failed."""
    if "GREENROOM_TASK" not in os.environ:
        return False
    beside_python = str(Path(sys.executable).parent)
    command = shutil.which("greenroom") or shutil.which("greenroom", path=beside_python)
    if command is None:
        return False
    try:
        told = subprocess.run(
            [command, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=CALL_S_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return told.returncode == 0
