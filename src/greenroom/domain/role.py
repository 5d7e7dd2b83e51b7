"""Knows what a role is and what is wished for it. Must not know the other nouns."""

import msgspec

CUSTOM = "custom"
REMOTE = "remote"
RUNNING = "running"
STOPPED = "stopped"

# How an agent rests, by its daemon's word: after an unintended end; after too many; until its harness can work again.
BACKING_OFF = "backing_off"
PARKED = "parked"
PAUSED = "paused"


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A persistent seat in a room, with the wish for who sits in it.

    A wish is a state and not an order: it says what should be so, and `generation` rises with each change of it.
    `rests_as`, `rests_until` and `last_exit` are what its daemon last said of its agent under that generation; one that
    is parked or paused with no end rests until a person does something.
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
    task_timeout_s: float | None = None
    desired: str = RUNNING
    desired_by: str | None = None
    desired_reason: str | None = None
    wished_at: str | None = None
    generation: int = 0
    epoch: int = 0
    last_seen_at: str | None = None
    rests_as: str | None = None
    rests_until: str | None = None
    last_exit: str | None = None
    removed_at: str | None = None

    @property
    def is_run_by_daemon(self) -> bool:
        """Tell whether a daemon is to run this role's agent."""
        return self.kind == REMOTE and self.machine is not None

    @property
    def awaits_person(self) -> bool:
        """Tell whether its agent is not run again before a person does something about it."""
        return self.rests_as in (PARKED, PAUSED) and self.rests_until is None

    @property
    def is_drained(self) -> bool:
        """Tell whether a person's agent is asked to finish what it has in hand and to leave."""
        return self.desired == STOPPED and not self.is_run_by_daemon
