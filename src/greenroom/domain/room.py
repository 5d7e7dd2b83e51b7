"""Knows what a room is. Must not know the other nouns."""

import msgspec

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
