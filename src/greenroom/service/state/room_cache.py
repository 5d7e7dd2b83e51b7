"""The cache of rooms and their roles, so that a heartbeat needs no read from the store."""

import msgspec

from greenroom.domain.role import Role
from greenroom.domain.room import CLOSED, Room
from greenroom.service.state.thread_rules import WriterOnly


class CachedRoom(msgspec.Struct, frozen=True):
    """What a heartbeat needs of a room: the machine that each role is assigned to, and the roles that are to drain."""

    id: str
    name: str
    machine_by_role: dict[str, str | None]
    draining_roles: frozenset[str]


class RoomCache(WriterOnly):
    """Rooms by id and by name, as they were committed. A reader gets one consistent version of a room."""

    def __init__(self) -> None:
        self._rooms: dict[str, CachedRoom] = {}

    def put(self, room: Room, roles: list[Role]) -> None:
        """Add or replace a room as it was committed."""
        drained = {role.name for role in roles if room.status == CLOSED or role.is_drained}
        machines = {role.name: role.machine if role.is_run_by_daemon else None for role in roles}
        entry = CachedRoom(room.id, room.name, machines, frozenset(drained))
        self._drop_name(room.id, room.name)
        self._rooms[room.id] = entry
        self._rooms[room.name] = entry

    def remove(self, room: str) -> None:
        """Remove a room by its id. Its name may belong to another room by now."""
        self._drop_name(room, "")
        self._rooms.pop(room, None)

    def _drop_name(self, room: str, kept_name: str) -> None:
        cached = self._rooms.get(room)
        if cached is not None and cached.name != kept_name and self._rooms.get(cached.name) is cached:
            del self._rooms[cached.name]

    def find(self, name_or_id: str) -> CachedRoom | None:
        """Find a room by its id or its name."""
        return self._rooms.get(name_or_id)
