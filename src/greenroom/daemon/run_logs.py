"""The folders with the input and output of runs, and their retention.

Options: `run_logs_kept` folders of each role, `run_logs_bytes_max` bytes of all roles. Metrics: none. Limits: a folder
whose run may still need it stays, even beyond these limits.
"""

import os
import shutil
import threading
from collections.abc import Callable, Collection
from glob import escape, iglob
from pathlib import Path
from typing import NamedTuple

from greenroom.domain.errors import ConfigurationError
from greenroom.private_files import make_private_folder
from greenroom.process.identity import is_alive
from greenroom.process.run_folder import read_shim
from greenroom.settings.files import disk_usage


class RunFolder(NamedTuple):
    """The folder of one run: its last change, its path (a string, as many are compared each time) and its bytes."""

    changed_at: float
    path: str
    size: int


class RunLogs:
    """A folder for each run: the newest `kept_max` of a role, and at most `bytes_max` bytes of all roles.

    The oldest folder is removed first. A folder that `in_use` names, or that a running process writes to, stays
    whatever its size: its output has not been handed in yet. Every run calls this, and there may be thousands of files:
    so the size of a folder whose process has ended, and which does not grow any more, is read only once.
    """

    def __init__(
        self, folder: Path, kept_max: int, bytes_max: int, in_use: Callable[[], Collection[Path]] = tuple
    ) -> None:
        self._folder = folder
        self._kept_max = kept_max
        self._bytes_max = bytes_max
        self._in_use = in_use
        self._lock = threading.Lock()
        self._ended: dict[str, RunFolder] = {}

    def prepare_folder(self, room: str, role: str, task: str, attempt: int) -> Path:
        """Remove what is too much for one more run of the role; the folder for that run. Raises ConfigurationError."""
        role_folder = self._folder / room / role
        try:
            make_private_folder(role_folder)
        except OSError as error:
            raise ConfigurationError(
                f"No run can be kept in {role_folder}: {error.strerror}.", "Free space there, or make it writable."
            ) from error
        place = role_folder / f"{task}.{attempt}"
        with self._lock:
            for kept in self._excess(role_folder, {str(path) for path in (*self._in_use(), place)}):
                shutil.rmtree(kept.path, ignore_errors=True)
                self._ended.pop(kept.path, None)
        return place

    def _excess(self, role_folder: Path, in_use: Collection[str]) -> list[RunFolder]:
        """The folders to remove for one more run in the folder of a role."""
        removable = self._removable(in_use)
        of_role = [kept for kept in removable if kept.path.startswith(f"{role_folder}{os.sep}")]
        excess = of_role[: max(0, len(of_role) - self._kept_max + 1)]
        left = [kept for kept in removable if kept not in excess]
        size = sum(kept.size for kept in left)
        while left and size > self._bytes_max:
            excess.append(left.pop(0))
            size -= excess[-1].size
        return excess

    def _removable(self, in_use: Collection[str]) -> list[RunFolder]:
        """All folders that may be removed, the oldest first.

        A folder in use is not remembered as ended: the same attempt may start again in it.
        """
        all_paths = iglob(os.path.join(escape(str(self._folder)), "*", "*", "*"), include_hidden=True)
        paths = [path for path in all_paths if path not in in_use]
        self._ended = {path: self._ended[path] for path in paths if path in self._ended}
        found = (self._ended.get(path) or self._measure(path) for path in paths)
        return sorted(kept for kept in found if kept is not None)

    def _measure(self, path: str) -> RunFolder | None:
        """The size of a folder; None while its process runs, and for what is no folder or was just removed."""
        process = read_shim(Path(path))
        if process is not None and is_alive(process):
            return None
        try:
            kept = RunFolder(os.stat(path).st_mtime, path, disk_usage(path)) if os.path.isdir(path) else None
        except OSError:
            return None
        if kept is not None and process is not None:
            self._ended[path] = kept
        return kept
