"""The records of runs on disk, from which the next daemon adopts or ends the runs of a killed one."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from greenroom.daemon.records import forget, records_in, sweep
from greenroom.domain.errors import ConfigurationError
from greenroom.process.identity import Identity
from greenroom.settings.private_file import write_record
from greenroom.wire.replies import ClaimedTask, Wish

PROBE_BYTES = 64 * 1024
"""The free space without which no run starts: a run writes files too."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one run of an agent's command, with all that a later daemon needs to adopt it.

    `identity` is None until the command was started. `claimed` is the task as it was claimed, without its text, which
    is in the `folder`, and without its token, which is not needed any more. A record of an earlier version has neither
    `claimed` nor `wish`, and cannot be adopted. `trial`: it is the probe run of a crash-looping role.
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
    """One file for each run whose end is not in the outbox yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(self) -> None:
        """Raise ConfigurationError when no record can be written: a run without a record must not start."""
        probe = self._folder / "probe.unfinished"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe.write_bytes(bytes(PROBE_BYTES))
            probe.unlink(missing_ok=True)  # another thread that checks at the same time may have removed it
        except OSError as error:
            raise ConfigurationError(
                f"No run can be recorded in {self._folder}: {error.strerror}.",
                "Free space there, or make it writable.",
            ) from error

    def note(self, run: Run) -> None:
        """Write the record, atomically: before the command is started, and again after that. Raises OSError."""
        write_record(self._file(run), run)

    def forget(self, run: Run) -> None:
        """Remove the record: the report of its end is in the outbox."""
        forget(self._file(run))

    def read_all(self) -> Iterator[Run]:
        """All recorded runs, of this daemon and of earlier ones."""
        return (run for _, run in records_in(self._folder, Run))

    def sweep(self) -> None:
        """Remove the unfinished files of an earlier daemon."""
        sweep(self._folder)

    def folders_in_use(self) -> set[Path]:
        """The folders of the recorded runs, whose output has not been handed in yet."""
        return {Path(run.folder) for run in self.read_all()}

    def _file(self, run: Run) -> Path:
        return self._folder / f"{run.task}.{run.attempt}.json"
