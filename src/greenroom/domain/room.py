"""Defines a room, and checks its roles."""

from collections.abc import Sequence

import msgspec

from greenroom.domain.errors import Unusable
from greenroom.domain.ids import check_name

OPEN = "open"
CLOSED = "closed"


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """A place where a team works. `roles` are in order; a user's message goes to `entry_role` by default."""

    id: str
    name: str
    status: str
    entry_role: str
    max_requests: int
    roles: tuple[str, ...]
    created_at: str
    closed_at: str | None = None


def check_roles(roles: Sequence[str], entry_role: str) -> None:
    """Raise Unusable for roles that no room can have: an invalid name, a duplicate, or no entry role among them."""
    for name in roles:
        check_name("role", name)
    if len(set(roles)) < len(roles):
        raise Unusable("Two roles have the same name.", "Give each role of the room a name of its own.")
    if entry_role not in roles:
        raise Unusable(
            f"The entry role {entry_role[:80]!r} is not a role of the room.",
            f"Name one of {', '.join(roles)} as `entry_role`.",
        )
