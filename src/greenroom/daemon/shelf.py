"""Where the input and output of runs lie, and how much of it is kept. Must not know what runs are, or how they end."""

import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from greenroom.process.identity import is_alive
from greenroom.process.journal import wrapper_in


class Kept(NamedTuple):
    """The folder of one run."""

    at: float
    path: Path
    size: int


class LogShelf:
    """A folder for each run: the newest `kept_max` of a role, and of all roles no more than `bytes_max` bytes.

    The oldest goes first. What `in_use` names, or a living process writes to, stays whatever it takes: it has not been
    handed in yet.
    """

    def __init__(
        self, folder: Path, kept_max: int, bytes_max: int, in_use: Callable[[], Collection[Path]] = tuple
    ) -> None:
        self._folder = folder
        self._kept_max = kept_max
        self._bytes_max = bytes_max
        self._in_use = in_use

    def place(self, room: str, role: str, task: str, attempt: int) -> Path:
        """Make room for one more run of the role; the folder for what it writes."""
        shelf = self._folder / room / role
        shelf.mkdir(parents=True, exist_ok=True, mode=0o700)
        place = shelf / f"{task}.{attempt}"
        in_use = {*self._in_use(), place}
        finished = [kept for kept in self._all() if kept.path not in in_use and not is_written_to(kept.path)]
        of_role = [kept for kept in finished if kept.path.parent == shelf]
        goes = of_role[: max(0, len(of_role) - self._kept_max + 1)]
        left = [kept for kept in finished if kept not in goes]
        size = sum(kept.size for kept in left)
        while left and size > self._bytes_max:
            goes.append(left.pop(0))
            size -= goes[-1].size
        for kept in goes:
            shutil.rmtree(kept.path, ignore_errors=True)
        return place

    def _all(self) -> list[Kept]:
        """Every folder of a run, the oldest first."""
        found = []
        for path in self._folder.glob("*/*/*"):
            with suppress(OSError):  # another seat has just taken it away
                if path.is_dir():
                    found.append(Kept(path.stat().st_mtime, path, size_of(path)))
        return sorted(found)


def size_of(folder: Path) -> int:
    """How many bytes the files of a run take."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            size += path.lstat().st_size
    return size


def is_written_to(folder: Path) -> bool:
    """Tell whether the run's process lives."""
    identity = wrapper_in(folder)
    return identity is not None and is_alive(identity)
