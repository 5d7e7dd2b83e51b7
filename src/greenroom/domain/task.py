"""Defines a task: the table of its state transitions, which attempt may act for it, and when a queued one is promoted.

Every change of a task's state is in `TRANSITIONS`; the diagram in the docs is drawn from it. A room works on at most
`max_requests` requests at a time (`initial_state`, `free_slots`).
"""

import msgspec

from greenroom.domain.errors import InvalidTransition

BACKLOG = "backlog"
QUEUED = "queued"
PENDING = "pending"
ACKNOWLEDGED = "acknowledged"
IN_PROGRESS = "in_progress"
PENDING_REVIEW = "pending_review"
COMPLETED = "completed"
QUARANTINED = "quarantined"
CLOSED = "closed"
STATES = (
    BACKLOG,
    QUEUED,
    PENDING,
    ACKNOWLEDGED,
    IN_PROGRESS,
    PENDING_REVIEW,
    COMPLETED,
    QUARANTINED,
    CLOSED,
)
OPEN_STATES = (BACKLOG, QUEUED, PENDING, ACKNOWLEDGED, IN_PROGRESS, PENDING_REVIEW, QUARANTINED)
OCCUPYING_STATES = (PENDING, ACKNOWLEDGED, IN_PROGRESS)
HELD_STATES = (ACKNOWLEDGED, IN_PROGRESS)

TRANSITIONS: dict[str, dict[str, tuple[str, ...]]] = {
    BACKLOG: {"queue": (PENDING, QUEUED), "cancel": (CLOSED,)},
    QUEUED: {"promote": (PENDING,), "send_back": (BACKLOG,), "cancel": (CLOSED,)},
    PENDING: {
        "claim": (ACKNOWLEDGED,),
        "resume": (ACKNOWLEDGED, IN_PROGRESS),
        "quarantine": (QUARANTINED,),
        "accept": (COMPLETED,),
        "send_back": (BACKLOG,),
        "cancel": (CLOSED,),
    },
    ACKNOWLEDGED: {
        "start": (IN_PROGRESS,),
        "complete": (COMPLETED, PENDING_REVIEW),
        "release": (PENDING,),
        "quarantine": (QUARANTINED,),
        "accept": (COMPLETED,),
        "cancel": (CLOSED,),
    },
    IN_PROGRESS: {
        "start": (IN_PROGRESS,),
        "progress": (IN_PROGRESS,),
        "complete": (COMPLETED, PENDING_REVIEW),
        "release": (PENDING,),
        "quarantine": (QUARANTINED,),
        "accept": (COMPLETED,),
        "cancel": (CLOSED,),
    },
    PENDING_REVIEW: {
        "accept": (COMPLETED,),
        "send_back": (PENDING, QUEUED, BACKLOG),
        "cancel": (CLOSED,),
    },
    QUARANTINED: {"retry": (PENDING, QUEUED, CLOSED), "accept": (COMPLETED,), "cancel": (CLOSED,)},
    COMPLETED: {},
    CLOSED: {"accept": (COMPLETED,)},
}

# How a request began. It decides whether a result goes to review.
FROM_MESSAGE = "message"
FROM_BACKLOG = "backlog"
ORIGINS = (FROM_MESSAGE, FROM_BACKLOG)

# How many of each a task keeps.
LATE_RESULTS_MAX = 20
NOTES_MAX = 20

# Why a task went back to pending.
EXITED = "exited"
STOPPED = "stopped"
LEFT = "left"
SUPERSEDED = "superseded"
LOST = "lost"
RESET = "reset"


class LateResult(msgspec.Struct, frozen=True, kw_only=True):
    """A result of an attempt that no longer holds the task. It is kept: work is never thrown away."""

    attempt: int
    connection_id: str
    to: str
    text: str
    at: str


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A user's note for the agent that works on a task. `attempt` is the one under way then; None if none was."""

    attempt: int | None
    by: str
    text: str
    at: str


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Work for one role. `target_role` never changes; the holder (`claimed_by`) and `attempt` do.

    `request` is the id of the task that began the request, `origin` how that began; `handoffs` counts the hand-offs
    since then, or since a user last let the request continue. `last_holder` is the participant that held the current
    attempt, also after its release; `released_at` is when that attempt ended, if it did not complete the task;
    `accepted_attempt` is the one whose result counts.
    """

    id: str
    room: str
    request: str
    target_role: str
    status: str
    attempt: int = 0
    claimed_by: str | None = None
    failures: int = 0
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
    origin: str = FROM_MESSAGE
    released_at: str | None = None
    accepted_attempt: int | None = None
    notes: tuple[Note, ...] = ()


def allowed_moves(state: str) -> tuple[str, ...]:
    """Return the moves that the table has from `state`, in its order."""
    return tuple(TRANSITIONS[state])


def next_state(current: str, trigger: str, to: str | None = None) -> str:
    """Return the state that `trigger` leads to from `current`; raise InvalidTransition if the table has no such move.

    Where the table has more than one target, `to` says which; without it the first one is meant.
    """
    targets = TRANSITIONS[current].get(trigger)
    if targets is None or (to is not None and to not in targets):
        raise InvalidTransition("task", current, trigger, allowed_moves(current))
    return targets[0] if to is None else to


def is_held_by(task: Task, connection_id: str, attempt: int) -> bool:
    """Return whether that participant and attempt hold the task now."""
    return task.status in HELD_STATES and task.claimed_by == connection_id and task.attempt == attempt


def can_resume(task: Task, connection_id: str, attempt: int) -> bool:
    """Return whether that participant and attempt may resume the task that they lost by silence.

    The caller must also check that no newer participant has taken the role.
    """
    return (
        task.status == PENDING
        and task.released_cause == LOST
        and task.last_holder == connection_id
        and task.attempt == attempt
    )


def is_active(task: Task) -> bool:
    """Return whether the task is held, or was lost by a holder that may still resume it without another claim."""
    held = task.status in HELD_STATES
    return held or (task.last_holder is not None and can_resume(task, task.last_holder, task.attempt))


def may_have_late_results(task: Task) -> bool:
    """Return whether an attempt of the task is over, so that its result may have come too late."""
    return task.attempt > 1 or (task.attempt == 1 and task.status not in HELD_STATES)


def is_completed_by(task: Task, connection_id: str, attempt: int) -> bool:
    """Return whether that participant and attempt are those whose result was accepted."""
    over = task.status in (COMPLETED, PENDING_REVIEW)
    return over and task.last_holder == connection_id and task.attempt == attempt == task.accepted_attempt


def resumed_state(task: Task) -> str:
    """Return the state in which a released task was held: in progress if it had started, else acknowledged."""
    return IN_PROGRESS if task.started_at is not None else ACKNOWLEDGED


def is_failure(cause: str, machine_connected: bool) -> bool:
    """Return whether a release counts as a failure of its attempt.

    An unintended exit does; a loss by silence does only if the agent's machine stayed connected.
    """
    return cause == EXITED or (cause == LOST and machine_connected)


def decide_release(
    task: Task, cause: str, machine_connected: bool, failures_max: int, is_probe_run: bool = False
) -> tuple[str, int]:
    """Return where a released task goes, and its new failure count.

    It goes to `pending`, or to `quarantined` after too many failures. A failed probe run of a crash-looping agent does
    not count against the task.
    """
    failures = task.failures + (is_failure(cause, machine_connected) and not is_probe_run)
    if failures >= failures_max and failures > task.failures:
        return next_state(task.status, "quarantine"), failures
    return next_state(task.status, "release"), failures


def initial_state(occupying: int, max_requests: int) -> str:
    """Return the state of a new request's first task; `occupying` counts pending, acknowledged and started tasks."""
    return QUEUED if occupying >= max_requests else PENDING


def free_slots(occupying: int, max_requests: int) -> int:
    """Return how many queued tasks may be promoted now."""
    return max(0, max_requests - occupying)
