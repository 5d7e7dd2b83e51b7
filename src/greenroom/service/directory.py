"""The cache of rooms and their roles, so that a heartbeat needs no read from the store."""

import msgspec

from greenroom.domain.role import Role
from greenroom.domain.room import CLOSED, Room


class Place(msgspec.Struct, frozen=True):
    """What a heartbeat needs of a room: the machine that each role is assigned to, and the roles that are to drain."""

    id: str
    name: str
    machine_of: dict[str, str | None]
    drained: frozenset[str]


class Directory:
    """Rooms by id and by name. Changed after commits only; a reader gets one consistent version of a room."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}

    def put(self, room: Room, roles: list[Role]) -> None:
        """Add or replace a room as it was committed."""
        drained = {role.name for role in roles if room.status == CLOSED or role.is_drained}
        machines = {role.name: role.machine if role.is_run_by_daemon else None for role in roles}
        place = Place(room.id, room.name, machines, frozenset(drained))
        self._drop_name(room.id, room.name)
        self._places[room.id] = place
        self._places[room.name] = place

    def drop(self, room: str) -> None:
        """Remove a room by its id. Its name may belong to another room by now."""
        self._drop_name(room, "")
        self._places.pop(room, None)

    def _drop_name(self, room: str, unless: str) -> None:
        known = self._places.get(room)
        if known is not None and known.name != unless and self._places.get(known.name) is known:
            del self._places[known.name]

    def find(self, name_or_id: str) -> Place | None:
        """Find a room by its id or its name."""
        return self._places.get(name_or_id)
