"""The bodies of requests. Knows their fields and bounds; must not know what is done with them.

All are strict: unknown fields are refused. Heartbeat, join and facts are lenient, since a newer client must not be
locked out of staying alive.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from greenroom.domain.ids import NAME_PATTERN
from greenroom.domain.reliability import (
    AGENTS_PER_BEAT_MAX,
    FACTS_PER_POST_MAX,
    HARNESSES_MAX,
    LABELS_MAX,
    REQUESTS_MAX,
    ROLES_MAX,
)

INTEGER_MAX = 2**53
SECONDS_MAX = 10**9
"""Some thirty years. Larger ones come near to where neighbouring whole numbers are the same float."""

NO_NUL = r"^[^\x00]*$"
"""No database keeps U+0000 in a text. (Texts that may be long are looked through where they are taken.)"""

Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=NAME_PATTERN)]
ConnectionId = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:-]+(?!\n)$")]
Text = Annotated[str, Meta(min_length=1, max_length=1024 * 1024)]
Reason = Annotated[str, Meta(max_length=16 * 1024, pattern=NO_NUL)]
Detail = Annotated[str, Meta(max_length=16 * 1024, pattern=NO_NUL)]
Attempt = Annotated[int, Meta(ge=1, le=INTEGER_MAX)]
Integer = Annotated[int, Meta(ge=-INTEGER_MAX, le=INTEGER_MAX)]
Seconds = Annotated[float, Meta(ge=0, le=SECONDS_MAX)]
Label = Annotated[str, Meta(max_length=256, pattern=NO_NUL)]
Path = Annotated[str, Meta(min_length=1, max_length=4096, pattern=NO_NUL)]


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body whose every field must be known."""


class Lenient(msgspec.Struct, frozen=True, kw_only=True):
    """A body from a client that may be newer than this server."""


class CreateRoom(Strict, frozen=True):
    name: Name
    roles: Annotated[list[Name], Meta(min_length=1, max_length=ROLES_MAX)]
    entry_role: Name | None = None
    max_requests: Annotated[int, Meta(ge=1, le=REQUESTS_MAX)] = 1


class SendMessage(Strict, frozen=True):
    sender: Name
    text: Text
    to: Name | None = None
    connection_id: ConnectionId | None = None
    attempt: Attempt | None = None


class Join(Lenient, frozen=True):
    """`if_vacant`: be refused with 409 `conflict` rather than take the seat from somebody who is present."""

    connection_id: ConnectionId
    if_vacant: bool = False


class Heartbeat(Lenient, frozen=True):
    connection_id: ConnectionId
    slept_s: Seconds = 0.0


class Leave(Strict, frozen=True):
    """`cause` tells an ended process (`exited`, which counts as a death) from a leave and an intended stop."""

    connection_id: ConnectionId
    cause: Literal["left", "exited", "stopped"] = "left"
    reason: Reason | None = None


class Claim(Strict, frozen=True):
    role: Name
    connection_id: ConnectionId
    wait_s: Seconds = 0.0
    hand_over: bool = False


class OnAttempt(Strict, frozen=True):
    """What every call of a working agent names: its sitting and its attempt. This is also the body of `start`."""

    connection_id: ConnectionId
    attempt: Attempt


class Progress(OnAttempt, frozen=True):
    text: Text


class Complete(OnAttempt, frozen=True):
    text: Annotated[str, Meta(max_length=1024 * 1024)] = ""


class Handoff(OnAttempt, frozen=True):
    to: Name
    text: Text


class Decline(OnAttempt, frozen=True):
    reason: Annotated[str, Meta(min_length=1, max_length=16 * 1024, pattern=NO_NUL)]


class Retry(Strict, frozen=True):
    """`to` sends the work to another role: this task is closed, and one for that role is opened in its request."""

    reason: Reason | None = None
    to: Name | None = None


class Accept(Strict, frozen=True):
    """Take a result: the one that waits for a review, or, with `attempt`, a late one of that attempt."""

    attempt: Attempt | None = None
    reason: Reason | None = None


class SendBack(Strict, frozen=True):
    """What was handed in is not good yet (`pending`), or is not to be done now (`backlog`)."""

    to: Literal["pending", "backlog"] | None = None
    reason: Reason | None = None


class AddNote(Strict, frozen=True):
    text: Annotated[str, Meta(min_length=1, max_length=4 * 1024, pattern=NO_NUL)]


class AddToBacklog(Strict, frozen=True):
    """`to` is the role that gets it once it is queued; the room's entry role when left out."""

    text: Text
    to: Name | None = None


class ChangeRoom(Strict, frozen=True):
    """What is left out stays. `roles` is the whole list in its new order."""

    name: Name | None = None
    roles: Annotated[list[Name], Meta(min_length=1, max_length=ROLES_MAX)] | None = None
    entry_role: Name | None = None
    max_requests: Annotated[int, Meta(ge=1, le=REQUESTS_MAX)] | None = None
    reason: Reason | None = None


class Explain(Strict, frozen=True):
    """The body of what people do to a task, a room or an agent: perhaps a reason."""

    reason: Reason | None = None


class SetAgent(Strict, frozen=True):
    """The wish for a role, whole: what is left out is not wished."""

    kind: Literal["remote", "custom"]
    machine: Name | None = None
    harness: Name | None = None
    model: Label | None = None
    workdir: Path | None = None
    desired: Literal["running", "stopped"] = "running"
    task_timeout_s: Annotated[float, Meta(gt=0, le=SECONDS_MAX)] | None = None
    reason: Reason | None = None


class PutMachine(Strict, frozen=True):
    name: Name
    harnesses: Annotated[list[Name], Meta(max_length=HARNESSES_MAX)]
    labels: Annotated[dict[Name, Label], Meta(max_length=LABELS_MAX)] = {}


class HeldAgent(Lenient, frozen=True):
    """An agent that a daemon holds. `room` is the room's id or name."""

    room: str
    role: str
    connection_id: str


class MachineHeartbeat(Lenient, frozen=True):
    """`leaving`: this is the last one; the daemon was stopped on purpose and holds nothing any more."""

    incarnation: ConnectionId
    agents: Annotated[list[HeldAgent], Meta(max_length=AGENTS_PER_BEAT_MAX)] = []
    slept_s: Seconds = 0.0
    leaving: bool = False


class Fact(Lenient, frozen=True):
    """What a daemon saw happen. `until` is the instant to which an agent rests before it is run again.

    `trial`: it was the one run that a parked role gets, and its death does not count against its task; where this is
    left out, it was if the role is parked. `generation` is that of the wish under which it happened: what was so under
    an earlier one says nothing of the role any more.
    """

    id: ConnectionId
    kind: Literal["started", "exited", "parked", "paused", "unparked"]
    room: Annotated[str, Meta(max_length=128, pattern=NO_NUL)]
    role: Annotated[str, Meta(max_length=64, pattern=NO_NUL)]
    connection_id: ConnectionId
    task: Annotated[str, Meta(max_length=64, pattern=NO_NUL)] | None = None
    attempt: Attempt | None = None
    code: Integer | None = None
    signal: Integer | None = None
    intended: bool | None = False
    trial: bool | None = None
    generation: Annotated[int, Meta(ge=0, le=INTEGER_MAX)] | None = None
    at: Annotated[str, Meta(max_length=40, pattern=NO_NUL)] | None = None
    until: Annotated[str, Meta(max_length=40, pattern=NO_NUL)] | None = None
    detail: Detail | None = None


class PostFacts(Lenient, frozen=True):
    incarnation: ConnectionId
    facts: Annotated[list[Fact], Meta(max_length=FACTS_PER_POST_MAX)]
