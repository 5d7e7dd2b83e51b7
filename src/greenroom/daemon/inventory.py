"""Reads the files of a daemon, whether it runs or not, for `greenroom doctor`. Changes none of them."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from greenroom.daemon.letter import Letter
from greenroom.daemon.machine import Machine
from greenroom.daemon.records import read_all
from greenroom.daemon.residents import Resident
from greenroom.daemon.runs import Run
from greenroom.process.identity import Identity, is_alive
from greenroom.process.journal import record_in, wrapper_in
from greenroom.settings import paths
from greenroom.settings.private_file import read_record
from greenroom.settings.resolve import Settings
from greenroom.wire.replies import Wish

Record = TypeVar("Record", bound=msgspec.Struct)


class NotedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded run, or, without `task`, a recorded resident process.

    `seat` is its ROOM/ROLE. `process` is its process number while it runs; `ended` is how it ended, if that is
    recorded. `began_at` is in seconds of the wall clock.
    """

    seat: str
    task: str | None
    attempt: int | None
    began_at: float
    process: int | None
    ended: str | None


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of the files. `machine` is None if there is no file yet, or an invalid one.

    `facts_at` has one instant for each report in the outbox: when it was written, in seconds of the wall clock.
    """

    machine: Machine | None
    runs: tuple[NotedRun, ...]
    facts_at: tuple[float, ...]


def take_inventory(settings: Settings) -> Inventory:
    """Read the files of the daemon of `settings.data_dir`."""
    folder = settings.data_dir
    runs = [noted_run(run) for _, run in legible(paths.runs(folder), Run)]
    residents = [noted_resident(resident) for _, resident in legible(paths.residents(folder), Resident)]
    return Inventory(
        machine=read_record(paths.machine(folder), Machine),
        runs=(*runs, *residents),
        facts_at=tuple(
            writing_times(path for path, letter in legible(paths.outbox(folder), Letter) for _ in letter.facts)
        ),
    )


def noted_run(run: Run) -> NotedRun:
    folder = Path(run.folder) if run.folder else None
    return NotedRun(
        seat=seat_of(run.wish, run.room, run.role),
        task=run.task,
        attempt=run.attempt,
        began_at=run.began_at,
        process=living(run.identity or (wrapper_in(folder) if folder is not None else None)),
        ended=ending_in(folder) if folder is not None else None,
    )


def noted_resident(resident: Resident) -> NotedRun:
    folder = Path(resident.folder)
    return NotedRun(
        seat=seat_of(resident.wish, *resident.key),
        task=None,
        attempt=None,
        began_at=resident.began_at,
        process=living(wrapper_in(folder)),
        ended=ending_in(folder),
    )


def seat_of(wish: Wish | None, room: str, role: str) -> str:
    return f"{wish.room_name if wish is not None else room}/{role}"


def living(identity: Identity | None) -> int | None:
    """The number of a running process; None if it does not run."""
    return identity.pid if identity is not None and is_alive(identity) else None


def ending_in(folder: Path) -> str | None:
    """How a run ended, as its shim recorded it; None if it did not."""
    record = record_in(folder)
    if record is None:
        return None
    return f"exit code {record.code}" if record.code is not None else f"signal {record.signal}"


def legible(folder: Path, shape: type[Record]) -> Iterator[tuple[Path, Record]]:
    """The records of a folder that can be read. The daemon itself sets the invalid ones aside."""
    return ((path, record) for path, record in read_all(folder, shape) if isinstance(record, shape))


def writing_times(files: Iterable[Path]) -> Iterator[float]:
    """When each file that still exists was written, in seconds of the wall clock."""
    for path in files:
        with suppress(OSError):
            yield path.stat().st_mtime
