"""Checks whether a room may have a name: it is valid, and no other room has it."""

from greenroom.domain.errors import Conflict
from greenroom.domain.ids import check_name
from greenroom.store import rooms
from greenroom.store.transaction import Reader


def free_only(reader: Reader, name: str) -> None:
    """Raise Unusable for an invalid name, and Conflict for the name of another room."""
    check_name("room", name)
    if rooms.get(reader, name) is not None:
        raise Conflict(f"Room {name!r} exists already.", "Use that room, or choose another name.")
