"""Defines a role and its agent spec."""

import msgspec

CUSTOM = "custom"
REMOTE = "remote"
RUNNING = "running"
STOPPED = "stopped"

# Why an agent is not restarted, as its daemon reports it: a failure; too many failures; its harness cannot work yet.
BACKING_OFF = "backing_off"
CRASH_LOOPING = "crash_looping"
PAUSED = "paused"

HOLD_WORDS = {BACKING_OFF: "backing off", CRASH_LOOPING: "crash-looping", PAUSED: "paused"}
"""How a hold reads in a sentence."""


# What the empty output of a run that ended with 0 is.
EMPTY_OK = "ok"
EMPTY_FAILURE = "failure"


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A persistent place in a room, with its agent spec.

    The spec is desired state and not a command; `generation` rises with each change of it. A run at work that began
    under `run_generation` or later is finished before the spec of today applies. `hold`, `hold_until`
    and `last_exit` are its daemon's last report about its agent under that generation: why and until when it is not
    restarted, and how it last ended. One that crash-loops or is paused without an end needs a user. A role that was
    removed from its room (`removed_at`) is kept, so that its epoch goes on rising if it is added again.
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
    configured_at: str | None = None
    generation: int = 0
    epoch: int = 0
    last_seen_at: str | None = None
    hold: str | None = None
    hold_until: str | None = None
    last_exit: str | None = None
    removed_at: str | None = None
    run_generation: int = 0
    empty: str = EMPTY_OK

    @property
    def is_run_by_daemon(self) -> bool:
        """Return whether a daemon is responsible for this role's agent."""
        return self.kind == REMOTE and self.machine is not None

    @property
    def needs_user(self) -> bool:
        """Return whether its agent is not restarted until a user acts."""
        return self.hold in (CRASH_LOOPING, PAUSED) and self.hold_until is None

    @property
    def is_drained(self) -> bool:
        """Return whether an agent that a user runs is asked to finish its task and to leave."""
        return self.desired == STOPPED and not self.is_run_by_daemon
