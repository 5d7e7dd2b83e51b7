"""What is written down about runs, so that nothing of a killed daemon is forgotten. Must not know the server."""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from greenroom.domain.errors import ConfigurationError
from greenroom.process.identity import Identity
from greenroom.wire.requests import Fact

PROBE_BYTES = 64 * 1024
"""A disk that has no more room than this is as good as full: a run writes too."""

log = logging.getLogger("greenroom.daemon.runs")


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of an agent's command. `identity` is None until the command was started; `fact` is how it ended."""

    task: str
    attempt: int
    room: str
    role: str
    connection_id: str
    identity: Identity | None = None
    fact: Fact | None = None


class RunBook:
    """One file for each run whose end the server has not been told of."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(self) -> None:
        """Raise ConfigurationError when nothing can be written down: a run that nobody could know of must not begin."""
        probe = self._folder / "probe.unfinished"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe.write_bytes(bytes(PROBE_BYTES))
            probe.unlink(missing_ok=True)  # another seat that looked at the same moment may have taken it away
        except OSError as error:
            raise ConfigurationError(
                f"No run can be written down in {self._folder}: {error.strerror}.",
                "Make room there, or make it writable.",
            ) from error

    def note(self, run: Run) -> None:
        """Write the run down, whole or not at all: before its command is started, after that, and when it has ended."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = self._folder / f"{run.task}.{run.attempt}.unfinished"
        unfinished.write_bytes(msgspec.json.encode(run))
        os.replace(unfinished, self._file(run))

    def forget(self, run: Run) -> None:
        """The server has been told: the run is no concern of ours any more."""
        try:
            self._file(run).unlink(missing_ok=True)
        except OSError as error:
            log.error("%s stays, and is told once more at the next start, which changes nothing: %s", run.task, error)

    def read_all(self) -> Iterator[Run]:
        """Every run that is written down, of this daemon and of earlier ones."""
        for path in sorted(self._folder.glob("*.json")):
            try:
                yield msgspec.json.decode(path.read_bytes(), type=Run)
            except (OSError, msgspec.MsgspecError) as error:
                log.error("%s tells of no run and is put aside: %s", path, error)
                path.replace(path.with_suffix(".unreadable"))

    def _file(self, run: Run) -> Path:
        return self._folder / f"{run.task}.{run.attempt}.json"


class LogShelf:
    """Where the output of runs is kept: the newest of each role, and no more than that."""

    def __init__(self, folder: Path, kept_max: int) -> None:
        self._folder = folder
        self._kept_max = kept_max

    def place(self, room: str, role: str, task: str, attempt: int) -> Path:
        """Make room for one more run of the role; the folder for what it writes."""
        shelf = self._folder / room / role
        shelf.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = sorted((path for path in shelf.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
        for path in kept[: max(0, len(kept) - self._kept_max + 1)]:
            shutil.rmtree(path, ignore_errors=True)
        return shelf / f"{task}.{attempt}"
