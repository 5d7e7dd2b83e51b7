"""The records of resident processes on disk, from which the next daemon adopts them."""

import logging
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from greenroom.daemon.histories import Key
from greenroom.daemon.records import forget, records_in, sweep
from greenroom.process.journal import wrapper_in
from greenroom.process.members import kill_leftover
from greenroom.settings.private_file import write_record
from greenroom.wire.replies import Wish

log = logging.getLogger("greenroom.daemon.residents")


class Resident(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one resident process.

    `wish` is its agent spec, `folder` holds its output, `began_at` is in seconds of the wall clock.
    """

    connection_id: str
    wish: Wish
    folder: str
    began_at: float

    @property
    def key(self) -> Key:
        return (self.wish.room, self.wish.role)

    @property
    def marks(self) -> dict[str, str]:
        """The environment variables by which all its processes are recognised, even outside of its process group."""
        return marks_of(self.connection_id)


class ResidentBook:
    """One file for each resident process whose end is not in the outbox yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def note(self, resident: Resident) -> None:
        """Write the record, atomically, before the process is started. Raises OSError."""
        write_record(self._file(resident.connection_id), resident)

    def forget(self, connection_id: str) -> None:
        """Remove the record: the report of its end is in the outbox, or the process was never started."""
        forget(self._file(connection_id))

    def take_over(self, taken: Collection[Key], is_told: Callable[[str], bool]) -> list[Resident]:
        """The residents of an earlier daemon to adopt: the newest of each role that is not in `taken`.

        The processes of the others are killed: their participants ended when the next one joined, or when the report
        of their end was in the outbox (`is_told`).
        """
        sweep(self._folder)
        newest: dict[Key, Resident] = {}
        for resident in sorted(self._read_all(), key=lambda found: found.began_at):
            earlier = newest.pop(resident.key, None)
            if earlier is not None:
                self._kill_leftovers(earlier)
            if resident.key in taken or is_told(resident.connection_id):
                self._kill_leftovers(resident)
            else:
                newest[resident.key] = resident
        return list(newest.values())

    def _kill_leftovers(self, resident: Resident) -> None:
        if kill_leftover(wrapper_in(Path(resident.folder)), resident.marks):
            log.warning(
                "leftover processes killed: %s/%s, participant %s: not adopted",
                resident.wish.room_name,
                resident.wish.role,
                resident.connection_id,
            )
        self.forget(resident.connection_id)

    def _read_all(self) -> list[Resident]:
        return [resident for _, resident in records_in(self._folder, Resident)]

    def _file(self, connection_id: str) -> Path:
        return self._folder / f"{connection_id}.json"


def marks_of(connection_id: str) -> dict[str, str]:
    """The environment variables by which all processes of a resident are recognised."""
    return {"GREENROOM_CONNECTION": connection_id}
