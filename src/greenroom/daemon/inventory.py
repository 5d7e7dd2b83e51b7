"""Reads the files of a daemon, whether it runs or not, for `greenroom doctor`. Changes none of them."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from greenroom.daemon.machine_identity import MachineIdentity
from greenroom.daemon.outbox import OutboxEntry
from greenroom.daemon.record_files import read_each
from greenroom.daemon.run_records import Resident, RunRecord
from greenroom.process.identity import ProcessIdentity, is_alive
from greenroom.process.run_folder import read_exit_record, read_shim
from greenroom.settings import paths
from greenroom.settings.files import read_record
from greenroom.settings.resolve import Settings
from greenroom.wire.replies import Assignment

Record = TypeVar("Record", bound=msgspec.Struct)


class RecordedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded run, or, without `task`, a recorded resident process.

    `role_path` is its ROOM/ROLE. `process` is its process number while it runs; `ended` is how it ended, if that is
    recorded. `began_at` is in seconds of the wall clock.
    """

    role_path: str
    task: str | None
    attempt: int | None
    began_at: float
    process: int | None
    ended: str | None


class DaemonFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of the files. `machine` is None if there is no file yet, or an invalid one.

    `reports_written_at` has one instant for each report in the outbox: when it was written, in seconds of the wall
    clock.
    """

    machine: MachineIdentity | None
    runs: tuple[RecordedRun, ...]
    reports_written_at: tuple[float, ...]


def read_daemon_files(settings: Settings) -> DaemonFiles:
    """Read the files of the daemon of `settings.data_dir`."""
    folder = settings.data_dir
    runs = [recorded_run(run) for _, run in readable_records(paths.runs(folder), RunRecord)]
    residents = [recorded_resident(resident) for _, resident in readable_records(paths.residents(folder), Resident)]
    return DaemonFiles(
        machine=read_record(paths.machine(folder), MachineIdentity),
        runs=(*runs, *residents),
        reports_written_at=tuple(
            modified_times(
                path for path, entry in readable_records(paths.outbox(folder), OutboxEntry) for _ in entry.reports
            )
        ),
    )


def recorded_run(run: RunRecord) -> RecordedRun:
    folder = Path(run.folder) if run.folder else None
    return RecordedRun(
        role_path=format_role_path(run.spec, run.room, run.role),
        task=run.task,
        attempt=run.attempt,
        began_at=run.began_at,
        process=running_pid(run.identity or (read_shim(folder) if folder is not None else None)),
        ended=format_end(folder) if folder is not None else None,
    )


def recorded_resident(resident: Resident) -> RecordedRun:
    folder = Path(resident.folder)
    return RecordedRun(
        role_path=format_role_path(resident.spec, *resident.key),
        task=None,
        attempt=None,
        began_at=resident.began_at,
        process=running_pid(read_shim(folder)),
        ended=format_end(folder),
    )


def format_role_path(spec: Assignment | None, room: str, role: str) -> str:
    return f"{spec.room_name if spec is not None else room}/{role}"


def running_pid(identity: ProcessIdentity | None) -> int | None:
    """The number of a running process; None if it does not run."""
    return identity.pid if identity is not None and is_alive(identity) else None


def format_end(folder: Path) -> str | None:
    """How a run ended, as its shim recorded it; None if it did not."""
    record = read_exit_record(folder)
    if record is None:
        return None
    return f"exit code {record.code}" if record.code is not None else f"signal {record.signal}"


def readable_records(folder: Path, shape: type[Record]) -> Iterator[tuple[Path, Record]]:
    """The records of a folder that can be read. The daemon itself sets the invalid ones aside."""
    return ((path, record) for path, record in read_each(folder, shape) if isinstance(record, shape))


def modified_times(files: Iterable[Path]) -> Iterator[float]:
    """When each file that still exists was written, in seconds of the wall clock."""
    for path in files:
        with suppress(OSError):
            yield path.stat().st_mtime
