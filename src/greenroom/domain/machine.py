"""Defines a machine, and which incarnation of its daemon is valid."""

import msgspec


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A computer whose daemon runs agents. One incarnation is one start of that daemon."""

    id: str
    name: str
    daemon_connected: bool
    harnesses: tuple[str, ...]
    labels: dict[str, str]
    assignments_version: int
    incarnation: str | None = None
    incarnation_epoch: int = 0
    last_seen_at: str | None = None
    created_at: str


def judge_incarnation(known_epoch: int | None, newest_epoch: int) -> str:
    """Judge the incarnation of a beat: `new` if it was never seen, `ok` if it is the newest, else `superseded`."""
    if known_epoch is None:
        return "new"
    return "ok" if known_epoch == newest_epoch else "superseded"
