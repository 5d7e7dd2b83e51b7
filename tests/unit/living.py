"""Looks at real processes and files until they are as expected. Knows deadlines; must not know who made them so."""

import threading
from collections.abc import Callable
from pathlib import Path

import psutil

from greenroom.clock import SystemClock

WAIT_S_MAX = 20.0


def wait_until(is_so: Callable[[], object], what: str) -> None:
    deadline = SystemClock().monotonic() + WAIT_S_MAX
    while not is_so():
        assert SystemClock().monotonic() < deadline, f"it never came to it that {what}"
        threading.Event().wait(0.01)


def wait_until_written(path: Path, text: str = "\n") -> str:
    wait_until(lambda: path.exists() and text in path.read_text(), f"{path} holds {text!r}")
    return path.read_text()


def has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def survivors(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if not has_ended(process)]
