"""Defines the bodies of requests, with the bounds of each field.

They are strict: unknown fields are rejected. Those of joins, heartbeats and a daemon's reports are lenient, so that a
newer client can stay present at an older server.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from greenroom.domain.ids import NAME_PATTERN
from greenroom.domain.limits import (
    AGENTS_PER_BEAT_MAX,
    HARNESSES_MAX,
    LABELS_MAX,
    REPORTS_PER_POST_MAX,
    REQUESTS_MAX,
    ROLES_MAX,
)

INTEGER_MAX = 2**53
SECONDS_MAX = 10**9
"""Some thirty years. Much larger values come near to where neighbouring integers are the same float."""

NO_NUL = r"^[^\x00]*$"
"""No database stores U+0000 in a text. (Texts that may be long are checked by the service.)"""

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
    """A body in which every field must be known."""


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
    """`if_vacant`: answer 409 `conflict` if another agent is present, instead of taking the role over."""

    connection_id: ConnectionId
    if_vacant: bool = False


class HeartbeatBody(Lenient, frozen=True):
    """`pausing`: the agent's process ends in order and may be called again; its silence from now on is intended."""

    connection_id: ConnectionId
    slept_s: Seconds = 0.0
    pausing: bool = False


class Leave(Strict, frozen=True):
    """`cause`: `exited` is a process that ended unasked, and counts as a failure; `left` and `stopped` are intended."""

    connection_id: ConnectionId
    cause: Literal["left", "exited", "stopped"] = "left"
    reason: Reason | None = None


class ClaimBody(Strict, frozen=True):
    role: Name
    connection_id: ConnectionId
    wait_s: Seconds = 0.0
    detached: bool = False


class AttemptRef(Strict, frozen=True):
    """What every call of a working agent names: its participant and its attempt. Also the body of `start`."""

    connection_id: ConnectionId
    attempt: Attempt


class Progress(AttemptRef, frozen=True):
    text: Text


class Complete(AttemptRef, frozen=True):
    text: Annotated[str, Meta(max_length=1024 * 1024)] = ""


class Handoff(AttemptRef, frozen=True):
    to: Name
    text: Text


class Decline(AttemptRef, frozen=True):
    reason: Annotated[str, Meta(min_length=1, max_length=16 * 1024, pattern=NO_NUL)]


class Retry(Strict, frozen=True):
    """`to` sends the work to another role: this task is closed, and one for that role is opened in its request."""

    reason: Reason | None = None
    to: Name | None = None


class Accept(Strict, frozen=True):
    """Accept a result: the one that waits for a review, or, with `attempt`, a late one of that attempt."""

    attempt: Attempt | None = None
    reason: Reason | None = None


class SendBack(Strict, frozen=True):
    """Return a result that is not good enough (`pending`), or is not to be worked on now (`backlog`)."""

    to: Literal["pending", "backlog"] | None = None
    reason: Reason | None = None


class AddNote(Strict, frozen=True):
    text: Annotated[str, Meta(min_length=1, max_length=4 * 1024, pattern=NO_NUL)]


class AddToBacklog(Strict, frozen=True):
    """`to` is the role that gets the task once it is queued; by default the room's entry role."""

    text: Text
    to: Name | None = None


class ChangeRoom(Strict, frozen=True):
    """A field that is left out stays as it is. `roles` is the whole list in its new order."""

    name: Name | None = None
    roles: Annotated[list[Name], Meta(min_length=1, max_length=ROLES_MAX)] | None = None
    entry_role: Name | None = None
    max_requests: Annotated[int, Meta(ge=1, le=REQUESTS_MAX)] | None = None
    reason: Reason | None = None


class GiveReason(Strict, frozen=True):
    """The body of a user's action on a task, a room or an agent: an optional reason."""

    reason: Reason | None = None


class SetAgentSpec(Strict, frozen=True):
    """The whole agent spec of a role: a field that is left out is reset to its default.

    A change of how runs are made (`harness`, `model`, `workdir`, `task_timeout_s`, `empty`) counts for the next run;
    with `now` it stops the run at work. `empty`: what a run is that ends with 0 and prints nothing.
    """

    kind: Literal["remote", "custom"]
    machine: Name | None = None
    harness: Name | None = None
    model: Label | None = None
    workdir: Path | None = None
    desired: Literal["running", "stopped"] = "running"
    task_timeout_s: Annotated[float, Meta(gt=0, le=SECONDS_MAX)] | None = None
    empty: Literal["ok", "failure"] = "ok"
    now: bool = False
    reason: Reason | None = None


class PutMachine(Strict, frozen=True):
    name: Name
    harnesses: Annotated[list[Name], Meta(max_length=HARNESSES_MAX)]
    labels: Annotated[dict[Name, Label], Meta(max_length=LABELS_MAX)] = {}


class HeldAgent(Lenient, frozen=True):
    """An agent that a daemon keeps present in its role. `room` is the room's id or name."""

    room: str
    role: str
    connection_id: str


class MachineHeartbeat(Lenient, frozen=True):
    """`leaving`: this beat is the last; the daemon was stopped on purpose and keeps no agent any more."""

    incarnation: ConnectionId
    agents: Annotated[list[HeldAgent], Meta(max_length=AGENTS_PER_BEAT_MAX)] = []
    slept_s: Seconds = 0.0
    leaving: bool = False


class AgentReport(Lenient, frozen=True):
    """A daemon's report of what happened to an agent. `until` is when an agent that is not restarted may be restarted.

    `probe`: it was the probe run of a crash-looping role, and its failure does not count against its task; if left out,
    the server takes it to be one if the role is crash-looping. `generation` is that of the agent spec at the time: a
    report on an earlier generation does not describe the role any more.
    """

    id: ConnectionId
    kind: Literal["started", "exited", "crash_looping", "paused", "recovered"]
    room: Annotated[str, Meta(max_length=128, pattern=NO_NUL)]
    role: Annotated[str, Meta(max_length=64, pattern=NO_NUL)]
    connection_id: ConnectionId
    task: Annotated[str, Meta(max_length=64, pattern=NO_NUL)] | None = None
    attempt: Attempt | None = None
    code: Integer | None = None
    signal: Integer | None = None
    intended: bool | None = False
    probe: bool | None = None
    generation: Annotated[int, Meta(ge=0, le=INTEGER_MAX)] | None = None
    at: Annotated[str, Meta(max_length=40, pattern=NO_NUL)] | None = None
    until: Annotated[str, Meta(max_length=40, pattern=NO_NUL)] | None = None
    detail: Detail | None = None


class ReportBatch(Lenient, frozen=True):
    incarnation: ConnectionId
    reports: Annotated[list[AgentReport], Meta(max_length=REPORTS_PER_POST_MAX)]
