"""The records of runs and of resident processes on disk.

From them the next daemon adopts or ends the runs and processes of a killed one.
"""

import logging
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import msgspec

from greenroom.daemon.record_files import read_valid, remove_drafts, remove_record
from greenroom.daemon.restart_state import RoleKey
from greenroom.domain.errors import ConfigurationError
from greenroom.private_files import make_private_folder, write_private_bytes
from greenroom.process.identity import ProcessIdentity
from greenroom.process.process_tree import end_leftover
from greenroom.process.run_folder import read_shim
from greenroom.settings.files import write_record
from greenroom.wire.replies import Assignment, ClaimedTask

FREE_BYTES_MIN = 64 * 1024
"""The free space without which no run starts: a run writes files too."""

log = logging.getLogger("greenroom.daemon.run_records")


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one run of an agent's command, with all that a later daemon needs to adopt it.

    `identity` is None until the command was started. `claimed` is the task as it was claimed, without its text, which
    is in the `folder`, and without its token, which is not needed any more. A record of an earlier version has neither
    `claimed` nor `spec`, and cannot be adopted. `probe`: it is the probe run of a crash-looping role.
    """

    task: str
    attempt: int
    room: str
    role: str
    connection_id: str
    spec: Assignment | None = None
    claimed: ClaimedTask | None = None
    then: str = ""
    result: str | None = None
    timeout_s: float | None = None
    began_at: float = 0.0
    folder: str = ""
    probe: bool = False
    identity: ProcessIdentity | None = None


class RunRecords:
    """One file for each run whose end is not in the outbox yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check_writable(self) -> None:
        """Raise ConfigurationError when no record can be written: a run without a record must not start."""
        probe = self._folder / "probe.unfinished"
        try:
            make_private_folder(self._folder)
            write_private_bytes(probe, bytes(FREE_BYTES_MIN))
            probe.unlink(missing_ok=True)  # another thread that checks at the same time may have removed it
        except OSError as error:
            raise ConfigurationError(
                f"No run can be recorded in {self._folder}: {error.strerror}.",
                "Free space there, or make it writable.",
            ) from error

    def write(self, run: RunRecord) -> None:
        """Write the record, atomically: before the command is started, and again after that. Raises OSError."""
        write_record(self._file(run), run)

    def remove(self, run: RunRecord) -> None:
        """Remove the record: the report of its end is in the outbox."""
        remove_record(self._file(run))

    def read_all(self) -> Iterator[RunRecord]:
        """All recorded runs, of this daemon and of earlier ones."""
        return (run for _, run in read_valid(self._folder, RunRecord))

    def remove_drafts(self) -> None:
        """Remove the unfinished files of an earlier daemon."""
        remove_drafts(self._folder)

    def folders_in_use(self) -> set[Path]:
        """The folders of the recorded runs, whose output has not been handed in yet."""
        return {Path(run.folder) for run in self.read_all()}

    def _file(self, run: RunRecord) -> Path:
        return self._folder / f"{run.task}.{run.attempt}.json"


class Resident(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one resident process.

    `spec` is its agent spec, `folder` holds its output, `began_at` is in seconds of the wall clock.
    """

    connection_id: str
    spec: Assignment
    folder: str
    began_at: float

    @property
    def key(self) -> RoleKey:
        return (self.spec.room, self.spec.role)

    @property
    def marker_variables(self) -> dict[str, str]:
        """The environment variables by which all its processes are recognised, even outside of its process group."""
        return resident_marker_variables(self.connection_id)


class ResidentRecords:
    """One file for each resident process whose end is not in the outbox yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, resident: Resident) -> None:
        """Write the record, atomically, before the process is started. Raises OSError."""
        write_record(self._file(resident.connection_id), resident)

    def remove(self, connection_id: str) -> None:
        """Remove the record: the report of its end is in the outbox, or the process was never started."""
        remove_record(self._file(connection_id))

    def adopt(self, adopted_roles: Collection[RoleKey], has_reported_end: Callable[[str], bool]) -> list[Resident]:
        """The residents of an earlier daemon to adopt: the newest of each role that is not in `adopted_roles`.

        The processes of the others are killed: their participants ended when the next one joined, or when the report
        of their end was in the outbox (`has_reported_end`).
        """
        remove_drafts(self._folder)
        newest: dict[RoleKey, Resident] = {}
        for resident in sorted(self._read_all(), key=lambda found: found.began_at):
            earlier = newest.pop(resident.key, None)
            if earlier is not None:
                self._kill_leftovers(earlier)
            if resident.key in adopted_roles or has_reported_end(resident.connection_id):
                self._kill_leftovers(resident)
            else:
                newest[resident.key] = resident
        return list(newest.values())

    def _kill_leftovers(self, resident: Resident) -> None:
        if end_leftover(read_shim(Path(resident.folder)), resident.marker_variables):
            log.warning(
                "leftover processes killed: %s/%s, participant %s: not adopted",
                resident.spec.room_name,
                resident.spec.role,
                resident.connection_id,
            )
        self.remove(resident.connection_id)

    def _read_all(self) -> list[Resident]:
        return [resident for _, resident in read_valid(self._folder, Resident)]

    def _file(self, connection_id: str) -> Path:
        return self._folder / f"{connection_id}.json"


def resident_marker_variables(connection_id: str) -> dict[str, str]:
    """The environment variables by which all processes of a resident are recognised."""
    return {"GREENROOM_CONNECTION": connection_id}
