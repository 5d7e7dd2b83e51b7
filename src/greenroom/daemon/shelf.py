"""Where the input and output of runs lie, and how much of it is kept. Must not know what runs are, or how they end."""

import os
import shutil
import threading
from collections.abc import Callable, Collection
from glob import escape, iglob
from pathlib import Path
from typing import NamedTuple

from greenroom.domain.errors import ConfigurationError
from greenroom.process.identity import is_alive
from greenroom.process.journal import wrapper_in
from greenroom.settings.volume import size_of


class Kept(NamedTuple):
    """The folder of one run. Its path is a string, since hundreds of them are compared each time."""

    at: float
    path: str
    size: int


class LogShelf:
    """A folder for each run: the newest `kept_max` of a role, and of all roles no more than `bytes_max` bytes.

    The oldest goes first. What `in_use` names, or a living process writes to, stays whatever it takes: it has not been
    handed in yet. Every run begins here, and thousands of files may lie here: so a folder whose process was seen to
    have ended, and which grows no more, is not looked into again.
    """

    def __init__(
        self, folder: Path, kept_max: int, bytes_max: int, in_use: Callable[[], Collection[Path]] = tuple
    ) -> None:
        self._folder = folder
        self._kept_max = kept_max
        self._bytes_max = bytes_max
        self._in_use = in_use
        self._lock = threading.Lock()
        self._ended: dict[str, Kept] = {}

    def place(self, room: str, role: str, task: str, attempt: int) -> Path:
        """Make room for one more run of the role; the folder for what it writes. Raises ConfigurationError."""
        shelf = self._folder / room / role
        try:
            shelf.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigurationError(
                f"Nothing of a run can be kept in {shelf}: {error.strerror}.", "Make room there, or make it writable."
            ) from error
        place = shelf / f"{task}.{attempt}"
        with self._lock:
            for kept in self._too_much(shelf, {str(path) for path in (*self._in_use(), place)}):
                shutil.rmtree(kept.path, ignore_errors=True)
                self._ended.pop(kept.path, None)
        return place

    def _too_much(self, shelf: Path, in_use: Collection[str]) -> list[Kept]:
        """What has to go for one more run on a shelf."""
        finished = self._finished(in_use)
        of_role = [kept for kept in finished if kept.path.startswith(f"{shelf}{os.sep}")]
        goes = of_role[: max(0, len(of_role) - self._kept_max + 1)]
        left = [kept for kept in finished if kept not in goes]
        size = sum(kept.size for kept in left)
        while left and size > self._bytes_max:
            goes.append(left.pop(0))
            size -= goes[-1].size
        return goes

    def _finished(self, in_use: Collection[str]) -> list[Kept]:
        """Every folder of a run that may go, the oldest first.

        What is in use is not remembered as ended: the same attempt may begin once more where it was.
        """
        every = iglob(os.path.join(escape(str(self._folder)), "*", "*", "*"), include_hidden=True)
        paths = [path for path in every if path not in in_use]
        self._ended = {path: self._ended[path] for path in paths if path in self._ended}
        found = (self._ended.get(path) or self._look_into(path) for path in paths)
        return sorted(kept for kept in found if kept is not None)

    def _look_into(self, path: str) -> Kept | None:
        """How much a folder takes; None while its process lives, and for what is no folder, or was just taken away."""
        process = wrapper_in(Path(path))
        if process is not None and is_alive(process):
            return None
        try:
            kept = Kept(os.stat(path).st_mtime, path, size_of(path)) if os.path.isdir(path) else None
        except OSError:
            return None
        if kept is not None and process is not None:
            self._ended[path] = kept
        return kept
