"""Knows what an attention is: something that a person should look at. Must not know what raises or resolves it."""

import msgspec


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """`key` says what it is about; it is raised once, and resolved by the same facts that raised it."""

    key: str
    room: str | None = None
    text: str
    subjects: tuple[str, ...] = ()
    raised_at: str
