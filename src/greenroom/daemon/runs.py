"""What is written down about runs, so that nothing of a killed daemon is forgotten. Must not know the server."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from greenroom.daemon.records import forget, records_in, sweep
from greenroom.domain.errors import ConfigurationError
from greenroom.process.identity import Identity
from greenroom.settings.private_file import write_record
from greenroom.wire.replies import ClaimedTask, Wish

PROBE_BYTES = 64 * 1024
"""A disk that has no more room than this is as good as full: a run writes too."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of an agent's command, with everything that a daemon needs which comes later and is to carry it on.

    `identity` is None until the command was started. `claimed` is the task as it was claimed, but for its text, which
    lies in the `folder`, and its token, which nobody needs any more. What an earlier version wrote has neither that
    nor a `wish`, and cannot be carried on.
    """

    task: str
    attempt: int
    room: str
    role: str
    connection_id: str
    wish: Wish | None = None
    claimed: ClaimedTask | None = None
    then: str = ""
    result: str | None = None
    timeout_s: float | None = None
    began_at: float = 0.0
    folder: str = ""
    trial: bool = False
    identity: Identity | None = None


class RunBook:
    """One file for each run whose end is not safely on its way to the server."""

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
        """Write the run down, whole or not at all: before its command is started, and after that."""
        write_record(self._file(run), run)

    def forget(self, run: Run) -> None:
        """How it ended is in the outbox: the run is no concern of ours any more."""
        forget(self._file(run))

    def read_all(self) -> Iterator[Run]:
        """Every run that is written down, of this daemon and of earlier ones."""
        return (run for _, run in records_in(self._folder, Run))

    def sweep(self) -> None:
        """Take away what an earlier daemon had not written to its end."""
        sweep(self._folder)

    def folders_in_use(self) -> set[Path]:
        """The folders of the runs that are written down: what they hold has not been handed in yet."""
        return {Path(run.folder) for run in self.read_all()}

    def _file(self, run: Run) -> Path:
        return self._folder / f"{run.task}.{run.attempt}.json"
