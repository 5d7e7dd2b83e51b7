"""Whether a name may be a room's: well spelled, and nobody else's. Must not know what is named with it."""

from greenroom.domain.errors import Conflict
from greenroom.domain.ids import check_name
from greenroom.store import rooms
from greenroom.store.transaction import Reader


def free_only(reader: Reader, name: str) -> None:
    """Refuse a name that no room can have, or that another room has."""
    check_name("room", name)
    if rooms.get(reader, name) is not None:
        raise Conflict(f"There is a room {name!r} already.", "Use it, or choose another name.")
