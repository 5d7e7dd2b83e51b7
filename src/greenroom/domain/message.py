"""Defines a message."""

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A text from `sender` to `to`; `task` is the task that it opened, if it opened one."""

    id: str
    room: str
    sender: str
    to: str
    text: str
    task: str | None
    at: str
