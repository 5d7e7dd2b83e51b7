"""Knows what a role is and what is wished for it. Must not know the other nouns."""

import msgspec

CUSTOM = "custom"
REMOTE = "remote"
RUNNING = "running"
STOPPED = "stopped"


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A persistent seat in a room, with the wish for who sits in it.

    A wish is a state and not an order: it says what should be so, and `generation` rises with each change of it.
    One that was taken out of its room (`removed_at`) is kept, so that its epoch rises on if it ever comes back.
    """

    room: str
    name: str
    position: int
    kind: str = CUSTOM
    machine: str | None = None
    harness: str | None = None
    model: str | None = None
    workdir: str | None = None
    desired: str = RUNNING
    desired_by: str | None = None
    desired_reason: str | None = None
    generation: int = 0
    epoch: int = 0
    last_seen_at: str | None = None
    rests_until: str | None = None
    last_exit: str | None = None
    removed_at: str | None = None

    @property
    def is_run_by_daemon(self) -> bool:
        """Tell whether a daemon is to run this role's agent."""
        return self.kind == REMOTE and self.machine is not None

    @property
    def is_drained(self) -> bool:
        """Tell whether a person's agent is asked to finish what it has in hand and to leave."""
        return self.desired == STOPPED and not self.is_run_by_daemon
