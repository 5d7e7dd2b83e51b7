"""Defines the bodies of replies. Records of the domain are sent as they are; only what differs is defined here."""

from typing import Any, Final

import msgspec

from greenroom.domain.event import Event
from greenroom.domain.message import Message
from greenroom.domain.task import Task

HEARTBEAT_EVENT: Final = "heartbeat"
RESET_EVENT: Final = "reset"
"""What a stream sends besides events: a heartbeat; a reset where events after the reader's cursor are missing."""


class TaskRef(msgspec.Struct, frozen=True):
    """The task that an agent holds, according to the server."""

    id: str
    attempt: int


class JoinReply(msgspec.Struct, frozen=True, kw_only=True):
    """`room` is the room's id, which stays valid when the room is renamed.

    `spread_retries` asks for longer pauses before retries: so many clients beat that they would return all at once.
    """

    status: str
    room: str = ""
    epoch: int
    ready_until: str | None
    next_in_s: float
    task: TaskRef | None
    spread_retries: bool = False


class HeartbeatReply(msgspec.Struct, frozen=True, kw_only=True):
    status: str
    next_in_s: float
    task: TaskRef | None = None
    notes: tuple[str, ...] = ()
    spread_retries: bool = False


class LeaveReply(msgspec.Struct, frozen=True):
    status: str


class ClaimedTask(Task, frozen=True, kw_only=True):
    """A task with the token of its current attempt."""

    token: str


class MessageReply(msgspec.Struct, frozen=True, kw_only=True):
    message: Message
    task: Task | None


class RoleView(msgspec.Struct, frozen=True, kw_only=True):
    """A run at work that began under `run_generation` or later is finished before the spec of `generation` applies."""

    name: str
    kind: str
    desired: str
    status: str
    status_reason: str | None
    status_until: str | None
    generation: int
    machine: str | None
    harness: str | None
    model: str | None
    workdir: str | None
    task_timeout_s: float | None = None
    run_generation: int | None = None
    empty: str = "ok"
    desired_by: str | None
    desired_reason: str | None
    configured_at: str | None = None
    last_seen_at: str | None


class ParticipantView(msgspec.Struct, frozen=True, kw_only=True):
    """`ready_until` is when its lease ends unless renewed; for a daemon's agent, when its machine's lease ends."""

    role: str
    connection_id: str
    epoch: int
    status: str
    ready_until: str | None
    machine: str | None
    joined_at: str


class RoomView(msgspec.Struct, frozen=True, kw_only=True):
    """A room at one moment; `cursor` is that of the room's last event, after which its stream continues."""

    id: str
    name: str
    status: str
    entry_role: str
    max_requests: int
    roles: tuple[RoleView, ...]
    participants: tuple[ParticipantView, ...]
    tasks: tuple[Task, ...]
    cursor: str
    created_at: str


class EventView(Event, frozen=True, kw_only=True):
    """An event in a list or stream; `cursor` is what to send as `after` to get what follows there."""

    cursor: str


class StreamHeartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a stream's heartbeat: the reader's cursor, the server's time and its version."""

    cursor: str
    at: str
    version: str


class CursorReset(msgspec.Struct, frozen=True):
    """The data of a stream's reset: the cursor from which the stream goes on."""

    cursor: str


class AgentOnMachine(msgspec.Struct, frozen=True, kw_only=True):
    room: str
    role: str
    status: str
    connection_id: str | None
    task: TaskRef | None


class MachineView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    daemon_connected: bool
    last_seen_at: str | None
    harnesses: tuple[str, ...]
    labels: dict[str, str]
    agents: tuple[AgentOnMachine, ...] = ()


class AgentVerdict(msgspec.Struct, frozen=True):
    room: str
    role: str
    status: str
    task: TaskRef | None = None
    notes: tuple[str, ...] = ()


class MachineHeartbeatReply(msgspec.Struct, frozen=True, kw_only=True):
    status: str
    daemon_connected: bool
    next_in_s: float
    assignments_version: int
    agents: tuple[AgentVerdict, ...] = ()
    spread_retries: bool = False


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """The agent spec of one role, for its machine's daemon.

    The next of `roles`, the room's roles in order, is the default `then`. A run that takes longer than `task_timeout_s`
    is stopped, and counts as a failure. A run at work that began under `run_generation` or later is finished before
    this spec applies; None: no run is. `empty`: whether a run that ends with 0 and prints nothing is a `failure`.
    """

    room: str
    room_name: str
    role: str
    roles: tuple[str, ...]
    desired: str
    generation: int
    harness: str | None
    model: str | None
    workdir: str | None
    task_timeout_s: float | None = None
    run_generation: int | None = None
    empty: str = "ok"


class Assignments(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    assignments: tuple[Assignment, ...]


class ReportsReply(msgspec.Struct, frozen=True, kw_only=True):
    """`accepted` is how many of the reports were new; the server had the others already."""

    status: str
    accepted: int


class TokenReply(msgspec.Struct, frozen=True):
    token: str


class AlertAction(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a user may make about an alert: its method, path and body (None for a GET), and a label for it."""

    verb: str
    label: str
    method: str
    path: str
    body: dict[str, Any] | None


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """Something that needs a user. `id` is `KIND:SUBJECT`, and stays when a room is renamed; `room` is a room's name.

    `subjects` has at most 1000 entries. `next` is the command to begin with: that of the first action, if there is one.
    """

    id: str
    kind: str
    subject: str
    subjects: tuple[str, ...]
    room: str | None
    role: str | None
    request: str | None
    task: str | None
    text: str
    actions: tuple[AlertAction, ...]
    next: str
    raised_at: str


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`late` names the background loops whose last round is too long ago."""

    status: str
    late: tuple[str, ...] = ()
