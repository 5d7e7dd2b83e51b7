"""What lies here of a daemon, whether one runs or not: for whoever examines this machine. Must not change any of it."""

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
    """A run that is written down, or (without `task`) a process that stays in a role.

    `process` is its number while it lives; `ended` says how it ended, where anybody saw that. `began_at` is a second of
    the wall clock.
    """

    seat: str
    task: str | None
    attempt: int | None
    began_at: float
    process: int | None
    ended: str | None


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `machine` is None where there is none yet, or its file makes no sense. `facts_at` are the seconds of
    the wall clock at which the facts were written that the server was not told of.
    """

    machine: Machine | None
    runs: tuple[NotedRun, ...]
    facts_at: tuple[float, ...]


def take_inventory(settings: Settings) -> Inventory:
    """Read it."""
    folder = settings.data_dir
    runs = [noted_run(run) for _, run in legible(paths.runs(folder), Run)]
    stayed = [noted_resident(resident) for _, resident in legible(paths.residents(folder), Resident)]
    return Inventory(
        machine=read_record(paths.machine(folder), Machine),
        runs=(*runs, *stayed),
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
    """The number of a process that lives; None of one that does not."""
    return identity.pid if identity is not None and is_alive(identity) else None


def ending_in(folder: Path) -> str | None:
    """How a run ended, as its wrapper wrote down."""
    record = record_in(folder)
    if record is None:
        return None
    return f"exit code {record.code}" if record.code is not None else f"signal {record.signal}"


def legible(folder: Path, shape: type[Record]) -> Iterator[tuple[Path, Record]]:
    """What is written down in a folder. The daemon itself puts aside what it cannot read."""
    return ((path, found) for path, found in read_all(folder, shape) if isinstance(found, shape))


def writing_times(files: Iterable[Path]) -> Iterator[float]:
    """The wall-clock second at which each of the files was written that are still there."""
    for path in files:
        with suppress(OSError):
            yield path.stat().st_mtime
