"""Knows what a message is. Must not know the other nouns."""

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Who said what to whom; `task` is the task that it opened, if it opened one."""

    id: str
    room: str
    sender: str
    to: str
    text: str
    task: str | None
    at: str
