"""Knows what an event is: one committed transition with its cause. Must not know who reads it."""

from typing import Any

import msgspec

SERVER_STREAM = "server"


def room_stream(room: str) -> str:
    """Name the stream of a room, given the room's id."""
    return f"room:{room}"


def machine_stream(machine: str) -> str:
    """Name the stream of a machine, given the machine's id."""
    return f"machine:{machine}"


class Event(msgspec.Struct, frozen=True):
    """`pos` is the place in commit order over all streams, `seq` the place without gaps inside `stream`."""

    pos: int
    stream: str
    seq: int
    type: str
    at: str
    cause: str
    data: dict[str, Any]
