"""Defines every error that can be raised or sent, as one tree.

    GreenroomError
    ├── Unusable                the request cannot succeed as it stands
    │   └── NotFound            it names something that does not exist
    ├── Refused                 the caller may not do this
    │   └── Unauthorized        the caller is not authenticated
    ├── Conflict                the request is valid, but the current state does not allow it
    │   ├── InvalidTransition   the state machine has no such move from the current state
    │   ├── Superseded          a newer participant has this role, or the attempt was given away
    │   │   └── NotKept         and the result sent with it was not stored: the caller must keep it
    │   └── RejoinRequired      the caller is no longer present, and may join again
    ├── Unavailable             nothing was done; the same request may be sent again
    │   ├── StoreUnavailable    the transaction did not commit
    │   └── StoreOverloaded     the writer's queue is full
    └── ConfigurationError      this process cannot start as it is configured
        └── AlreadyRunning      another process holds the lock

Every error has a `code` for programs, a `detail` that says what is wrong and a `guidance` that says what to do next.
"""


class GreenroomError(Exception):
    """The root of the tree. `retryable`: the same request, sent again, can succeed without any change by a user."""

    code = "error"
    retryable = False

    def __init__(self, detail: str, guidance: str, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.guidance = guidance
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.detail} {self.guidance}".strip()


class Unusable(GreenroomError):
    code = "invalid_request"


class NotFound(Unusable):
    code = "not_found"


class Refused(GreenroomError):
    code = "forbidden"


class Unauthorized(Refused):
    code = "unauthorized"


class Conflict(GreenroomError):
    code = "conflict"


class InvalidTransition(Conflict):
    """A move that the state machine does not have. Carries the current state, the move, and the allowed moves."""

    code = "invalid_transition"

    def __init__(self, noun: str, current: str, attempted: str, allowed: tuple[str, ...]) -> None:
        moves = ", ".join(allowed) if allowed else "none"
        super().__init__(
            f"A {noun} that is {current} does not allow `{attempted}`.",
            f"Allowed from {current}: {moves}. Read the {noun} again before you decide what to do.",
        )
        self.current = current
        self.attempted = attempted
        self.allowed = allowed


class Superseded(Conflict):
    code = "superseded"


class NotKept(Superseded):
    code = "not_kept"


class RejoinRequired(Conflict):
    code = "rejoin_required"


class Unavailable(GreenroomError):
    code = "unavailable"
    retryable = True


class StoreUnavailable(Unavailable):
    code = "store_unavailable"


class StoreOverloaded(Unavailable):
    code = "overloaded"


class ConfigurationError(GreenroomError):
    code = "configuration"


class AlreadyRunning(ConfigurationError):
    code = "already_running"
