"""What is written down about processes that stay in a role, for the next daemon. Must not know the server."""

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
    """One process that stays: in which sitting, under which wish, and where what it writes lies."""

    connection_id: str
    wish: Wish
    folder: str
    began_at: float

    @property
    def key(self) -> Key:
        return (self.wish.room, self.wish.role)

    @property
    def marks(self) -> dict[str, str]:
        """The variables by which every process of it is known, wherever it went."""
        return marks_of(self.connection_id)


class ResidentBook:
    """One file for each resident process whose end is not safely on its way to the server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def note(self, resident: Resident) -> None:
        """Write it down, whole or not at all, before it is started. Raises OSError."""
        write_record(self._file(resident.connection_id), resident)

    def forget(self, connection_id: str) -> None:
        """How it ended is in the outbox, or it was never started."""
        forget(self._file(connection_id))

    def take_over(self, taken: Collection[Key], is_told: Callable[[str], bool]) -> list[Resident]:
        """What an earlier daemon left, at most one for each role and none where a role is `taken` already.

        Of the others nothing is left to live: their sittings were over when the next one began, or when the word of
        their end was on its way (`is_told`).
        """
        sweep(self._folder)
        newest: dict[Key, Resident] = {}
        for resident in sorted(self._read_all(), key=lambda each: each.began_at):
            earlier = newest.pop(resident.key, None)
            if earlier is not None:
                self._let_go(earlier)
            if resident.key in taken or is_told(resident.connection_id):
                self._let_go(resident)
            else:
                newest[resident.key] = resident
        return list(newest.values())

    def _let_go(self, resident: Resident) -> None:
        if kill_leftover(wrapper_in(Path(resident.folder)), resident.marks):
            log.warning("ended what was left of %s in %s", resident.connection_id, resident.wish.role)
        self.forget(resident.connection_id)

    def _read_all(self) -> list[Resident]:
        return [resident for _, resident in records_in(self._folder, Resident)]

    def _file(self, connection_id: str) -> Path:
        return self._folder / f"{connection_id}.json"


def marks_of(connection_id: str) -> dict[str, str]:
    """The part of its environment by which every process of a resident one is known."""
    return {"GREENROOM_CONNECTION": connection_id}
