"""Checks whether real processes have ended, and waits for what they write into files."""

from pathlib import Path

import psutil

from tests.waiting import wait_until


def wait_until_written(path: Path, text: str = "\n") -> str:
    wait_until(lambda: path.exists() and text in path.read_text(), f"{path} holds {text!r}")
    return path.read_text()


def has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def running_processes(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if not has_ended(process)]
