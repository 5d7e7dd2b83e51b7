"""Knows the life of a task: the one table of its moves, and what fences them. Must not know the other nouns.

Everything that changes a task's state stands in `TRANSITIONS`. The diagram in the docs is drawn from it.
"""

import msgspec

from greenroom.domain.errors import InvalidTransition

QUEUED = "queued"
PENDING = "pending"
ACKNOWLEDGED = "acknowledged"
IN_PROGRESS = "in_progress"
COMPLETED = "completed"
QUARANTINED = "quarantined"
CLOSED = "closed"
STATES = (QUEUED, PENDING, ACKNOWLEDGED, IN_PROGRESS, COMPLETED, QUARANTINED, CLOSED)
OPEN_STATES = (QUEUED, PENDING, ACKNOWLEDGED, IN_PROGRESS, QUARANTINED)
OCCUPYING_STATES = (PENDING, ACKNOWLEDGED, IN_PROGRESS)
HELD_STATES = (ACKNOWLEDGED, IN_PROGRESS)

TRANSITIONS: dict[str, dict[str, tuple[str, ...]]] = {
    QUEUED: {"promote": (PENDING,), "cancel": (CLOSED,)},
    PENDING: {
        "claim": (ACKNOWLEDGED,),
        "resume": (ACKNOWLEDGED, IN_PROGRESS),
        "quarantine": (QUARANTINED,),
        "cancel": (CLOSED,),
    },
    ACKNOWLEDGED: {
        "start": (IN_PROGRESS,),
        "complete": (COMPLETED,),
        "release": (PENDING,),
        "quarantine": (QUARANTINED,),
        "cancel": (CLOSED,),
    },
    IN_PROGRESS: {
        "start": (IN_PROGRESS,),
        "progress": (IN_PROGRESS,),
        "complete": (COMPLETED,),
        "release": (PENDING,),
        "quarantine": (QUARANTINED,),
        "cancel": (CLOSED,),
    },
    QUARANTINED: {"retry": (PENDING, QUEUED), "cancel": (CLOSED,)},
    COMPLETED: {},
    CLOSED: {},
}

# Why a task went back to pending.
EXITED = "exited"
STOPPED = "stopped"
LEFT = "left"
SUPERSEDED = "superseded"
LOST = "lost"
RESET = "reset"


class LateResult(msgspec.Struct, frozen=True, kw_only=True):
    """A result that came from an attempt that no longer counts. Kept, because work is never thrown away."""

    attempt: int
    connection_id: str
    to: str
    text: str
    at: str


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Work for one role. `target_role` never changes; the holder (`claimed_by`) and `attempt` do.

    `request` is the id of the task that a user's message opened; `handoffs` counts the hand-offs since then.
    `last_holder` is the sitting that held the current attempt, also after it was released.
    """

    id: str
    room: str
    request: str
    target_role: str
    status: str
    attempt: int = 0
    claimed_by: str | None = None
    deaths: int = 0
    text: str
    created_at: str
    acknowledged_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    released_cause: str | None = None
    result: str | None = None
    late_results: tuple[LateResult, ...] = ()
    handoffs: int = 0
    last_holder: str | None = None
    reason: str | None = None
    handed_to: str | None = None
    next_task: str | None = None
    promoted: str | None = None


def allowed_moves(state: str) -> tuple[str, ...]:
    """The moves that the table has from `state`, in its order."""
    return tuple(TRANSITIONS[state])


def move(current: str, trigger: str, to: str | None = None) -> str:
    """Return the state that `trigger` leads to from `current`; raise InvalidTransition and change nothing otherwise.

    Where the table offers more than one, `to` says which.
    """
    targets = TRANSITIONS[current].get(trigger)
    if targets is None or (to is not None and to not in targets):
        raise InvalidTransition("task", current, trigger, allowed_moves(current))
    return targets[0] if to is None else to


def is_held_by(task: Task, connection_id: str, attempt: int) -> bool:
    """Tell whether that sitting and attempt hold the task now."""
    return task.status in HELD_STATES and task.claimed_by == connection_id and task.attempt == attempt


def can_resume(task: Task, connection_id: str, attempt: int) -> bool:
    """Tell whether that sitting and attempt may take the task up again where silence made them lose it.

    That nobody newer has taken the role is the sitting's part of the question.
    """
    return (
        task.status == PENDING
        and task.released_cause == LOST
        and task.last_holder == connection_id
        and task.attempt == attempt
    )


def is_completed_by(task: Task, connection_id: str, attempt: int) -> bool:
    """Tell whether that sitting and attempt are those whose result was accepted."""
    return task.status == COMPLETED and task.last_holder == connection_id and task.attempt == attempt


def resumed_state(task: Task) -> str:
    """The state in which a released task was held: started or only acknowledged."""
    return IN_PROGRESS if task.started_at is not None else ACKNOWLEDGED


def is_death(cause: str, machine_connected: bool) -> bool:
    """Tell whether a release counts as a death of its attempt.

    An unintended exit does; silence does only while the machine of the agent stayed connected.
    """
    return cause == EXITED or (cause == LOST and machine_connected)


def decide_release(task: Task, cause: str, machine_connected: bool, deaths_max: int) -> tuple[str, int]:
    """Decide where a released task goes (`pending`, or `quarantined` after too many deaths) and count its deaths."""
    deaths = task.deaths + is_death(cause, machine_connected)
    if deaths >= deaths_max and deaths > task.deaths:
        return move(task.status, "quarantine"), deaths
    return move(task.status, "release"), deaths
