"""Defines an alert: something that needs a user."""

import msgspec


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """`key` names what it is about. It is raised once for each key, and resolved when its cause is gone."""

    key: str
    room: str | None = None
    text: str
    subjects: tuple[str, ...] = ()
    raised_at: str
