"""Defines an event: one committed transition with its cause."""

from typing import Any

import msgspec

SERVER_STREAM = "server"


def room_stream(room: str) -> str:
    """Return the name of a room's stream, given the room's id."""
    return f"room:{room}"


def machine_stream(machine: str) -> str:
    """Return the name of a machine's stream, given the machine's id."""
    return f"machine:{machine}"


class Event(msgspec.Struct, frozen=True):
    """`pos` is the position in commit order over all streams, `seq` the position without gaps inside `stream`."""

    pos: int
    stream: str
    seq: int
    type: str
    at: str
    cause: str
    data: dict[str, Any]
