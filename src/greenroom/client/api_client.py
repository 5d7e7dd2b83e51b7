"""The API as typed calls: routes, bodies, idempotency keys and retries.

There is one method for each call of the API. A refusal is raised as the error that the server raised; a response that
does not come from a Greenroom server is raised as Unavailable.

Options: `request_timeout_s` and `retry_pause_s`.
"""

import copy
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from greenroom.client.http_transport import UNREACHABLE, HttpTransport, Response, Transport
from greenroom.client.sse import StreamReset, follow_events
from greenroom.clock import Clock, SystemClock
from greenroom.domain.errors import Unavailable
from greenroom.domain.limits import Limits
from greenroom.domain.message import Message
from greenroom.domain.room import Room
from greenroom.domain.task import Task
from greenroom.entropy import Entropy, SystemEntropy
from greenroom.settings.server_address import without_secrets
from greenroom.wire import problems, replies, requests

Answer = TypeVar("Answer")
Query = dict[str, str | int | float | None]
Cause = Literal["left", "exited", "stopped"]

BASE = "/api/v1"
NO_LIMIT_S = float("inf")
"""A patience that never ends."""


class ApiClient:
    """Calls with one token over one connection, from one thread.

    `patience_s` is for how many seconds a call is retried that did not reach the server, with the same idempotency key.
    By default it is not retried: heartbeats and claims have their own rules. `interval_s` is the interval at which the
    client beats, if that is not an agent's: it limits the timeout of each request.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        limits: Limits,
        transport: Transport | None = None,
        *,
        patience_s: float = 0.0,
        interval_s: float | None = None,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
    ) -> None:
        self.url = without_secrets(url)
        self.limits = limits
        self.patience_s = patience_s
        interval_s = interval_s or limits.heartbeat_interval_s
        self.timeout_s = limits.request_timeout_for(interval_s)
        self._pause_s_max = limits.retry_pause_for(interval_s)
        self._transport = transport or HttpTransport(url, self.timeout_s)
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._clock = clock or SystemClock()
        self._entropy = entropy or SystemEntropy()
        self._has_given_up = threading.Event()

    def with_patience(self, patience_s: float) -> "ApiClient":
        """Return the same session, over the same connection, with another `patience_s`."""
        sibling = copy.copy(self)
        sibling.patience_s = patience_s
        sibling._has_given_up = threading.Event()
        return sibling

    def give_up(self) -> None:
        """End the call in flight, from another thread, and retry no call from now on."""
        self._has_given_up.set()
        self._transport.drop()

    def drop(self) -> None:
        """End the call in flight, from another thread; it raises Unavailable, or is retried if `patience_s` allows."""
        self._transport.drop()

    def close(self) -> None:
        self._transport.close()

    # Rooms.

    def create_room(self, body: requests.CreateRoom) -> replies.RoomView:
        return self._create("/rooms", body, replies.RoomView)

    def close_room(self, room: str, reason: str | None = None) -> replies.RoomView:
        return self._create(f"/rooms/{_(room)}/close", requests.GiveReason(reason=reason), replies.RoomView)

    def change_room(self, room: str, body: requests.ChangeRoom) -> replies.RoomView:
        return self._call("PATCH", f"/rooms/{_(room)}", body, replies.RoomView)

    def delete_room(self, room: str) -> None:
        self._exchange("DELETE", f"/rooms/{_(room)}", None, lambda response: None)

    def rooms(self, after: str | None = None, limit: int | None = None) -> list[Room]:
        return self._get("/rooms", list[Room], {"after": after, "limit": limit})

    def snapshot(self, room: str) -> replies.RoomView:
        return self._get(f"/rooms/{_(room)}", replies.RoomView)

    def room_token(self, room: str, role: str) -> replies.TokenReply:
        return self._post(f"/rooms/{_(room)}/roles/{_(role)}/token", None, replies.TokenReply)

    def set_agent_spec(self, room: str, role: str, body: requests.SetAgentSpec) -> replies.RoleView:
        return self._call("PUT", f"/rooms/{_(room)}/roles/{_(role)}/agent", body, replies.RoleView)

    def restart(self, room: str, role: str, reason: str | None = None) -> replies.RoleView:
        path = f"/rooms/{_(room)}/roles/{_(role)}/agent/restart"
        return self._create(path, requests.GiveReason(reason=reason), replies.RoleView)

    # Messages.

    def send_message(self, room: str, body: requests.SendMessage) -> replies.MessageReply:
        return self._create(f"/rooms/{_(room)}/messages", body, replies.MessageReply)

    def messages(self, room: str, after: str | None = None, limit: int | None = None) -> list[Message]:
        return self._get(f"/rooms/{_(room)}/messages", list[Message], {"after": after, "limit": limit})

    # Presence.

    def join(self, room: str, role: str, connection_id: str, if_vacant: bool = False) -> replies.JoinReply:
        body = requests.Join(connection_id=connection_id, if_vacant=if_vacant)
        return self._post(f"/rooms/{_(room)}/participants/{_(role)}/join", body, replies.JoinReply)

    def beat(
        self, room: str, role: str, connection_id: str, slept_s: float = 0.0, pausing: bool = False
    ) -> replies.HeartbeatReply:
        body = requests.HeartbeatBody(connection_id=connection_id, slept_s=slept_s, pausing=pausing)
        return self._post(f"/rooms/{_(room)}/participants/{_(role)}/heartbeat", body, replies.HeartbeatReply)

    def leave(
        self, room: str, role: str, connection_id: str, cause: Cause = "left", reason: str | None = None
    ) -> replies.LeaveReply:
        body = requests.Leave(connection_id=connection_id, cause=cause, reason=reason)
        return self._post(f"/rooms/{_(room)}/participants/{_(role)}/leave", body, replies.LeaveReply)

    # Tasks.

    def claim(
        self, room: str, role: str, connection_id: str, wait_s: float = 0.0, detached: bool = False
    ) -> replies.ClaimedTask | None:
        """Claim the role's next task, and wait up to `wait_s` seconds for one; None if there was none."""
        body = requests.ClaimBody(role=role, connection_id=connection_id, wait_s=wait_s, detached=detached)
        path = f"/rooms/{_(room)}/tasks/claim"
        return self._exchange("POST", path, body, self._read_claim, wait_s=wait_s)

    def start(self, task: str, connection_id: str, attempt: int) -> Task:
        return self._post_action(task, "start", requests.AttemptRef(connection_id=connection_id, attempt=attempt))

    def progress(self, task: str, connection_id: str, attempt: int, text: str) -> Task:
        return self._post_action(
            task, "progress", requests.Progress(connection_id=connection_id, attempt=attempt, text=text)
        )

    def complete(self, task: str, connection_id: str, attempt: int, text: str = "") -> Task:
        return self._post_action(
            task, "complete", requests.Complete(connection_id=connection_id, attempt=attempt, text=text)
        )

    def handoff(self, task: str, connection_id: str, attempt: int, to: str, text: str) -> Task:
        body = requests.Handoff(connection_id=connection_id, attempt=attempt, to=to, text=text)
        return self._post_action(task, "handoff", body)

    def decline(self, task: str, connection_id: str, attempt: int, reason: str) -> Task:
        body = requests.Decline(connection_id=connection_id, attempt=attempt, reason=reason)
        return self._post_action(task, "decline", body)

    def cancel(self, task: str, reason: str | None = None) -> Task:
        return self._post_action(task, "cancel", requests.GiveReason(reason=reason))

    def retry(self, task: str, reason: str | None = None, to: str | None = None) -> Task:
        return self._post_action(task, "retry", requests.Retry(reason=reason, to=to))

    def accept(self, task: str, attempt: int | None = None, reason: str | None = None) -> Task:
        return self._post_action(task, "accept", requests.Accept(attempt=attempt, reason=reason))

    def send_back(self, task: str, to: Literal["pending", "backlog"] | None = None, reason: str | None = None) -> Task:
        return self._post_action(task, "send-back", requests.SendBack(to=to, reason=reason))

    def queue(self, task: str, reason: str | None = None) -> Task:
        return self._post_action(task, "queue", requests.GiveReason(reason=reason))

    def note(self, task: str, text: str) -> Task:
        return self._post_action(task, "note", requests.AddNote(text=text))

    def add_to_backlog(self, room: str, body: requests.AddToBacklog) -> Task:
        return self._create(f"/rooms/{_(room)}/backlog", body, Task)

    def reset(self, task: str, reason: str | None = None) -> Task:
        return self._post_action(task, "reset", requests.GiveReason(reason=reason))

    def task(self, task: str) -> Task:
        return self._get(f"/tasks/{_(task)}", Task)

    def tasks(
        self, room: str, status: str | None = None, after: str | None = None, limit: int | None = None
    ) -> list[Task]:
        query: Query = {"status": status, "after": after, "limit": limit}
        return self._get(f"/rooms/{_(room)}/tasks", list[Task], query)

    # Machines.

    def register(self, machine: str, body: requests.PutMachine) -> replies.MachineView:
        return self._call("PUT", f"/machines/{_(machine)}", body, replies.MachineView)

    def machine_beat(self, machine: str, body: requests.MachineHeartbeat) -> replies.MachineHeartbeatReply:
        return self._post(f"/machines/{_(machine)}/heartbeat", body, replies.MachineHeartbeatReply)

    def post_reports(self, machine: str, body: requests.ReportBatch) -> replies.ReportsReply:
        return self._post(f"/machines/{_(machine)}/reports", body, replies.ReportsReply)

    def assignments(self, machine: str, after: int | None = None, wait_s: float = 0.0) -> replies.Assignments:
        """Return the machine's assignments; with `after`, wait up to `wait_s` seconds for a version newer than that."""
        query: Query = {"after": after, "wait_s": wait_s if after is not None else None}
        return self._get(f"/machines/{_(machine)}/assignments", replies.Assignments, query, wait_s=wait_s)

    def machines(self, after: str | None = None, limit: int | None = None) -> list[replies.MachineView]:
        return self._get("/machines", list[replies.MachineView], {"after": after, "limit": limit})

    def machine(self, machine: str) -> replies.MachineView:
        return self._get(f"/machines/{_(machine)}", replies.MachineView)

    def delete_machine(self, machine: str) -> None:
        self._exchange("DELETE", f"/machines/{_(machine)}", None, lambda response: None)

    def machine_token(self, machine: str) -> replies.TokenReply:
        return self._post(f"/machines/{_(machine)}/token", None, replies.TokenReply)

    # Events.

    # `after` is the cursor of the last event that the caller has; `newest` begins with so many of the newest instead.

    def room_events(
        self, room: str, after: str | None = None, limit: int | None = None, newest: int | None = None
    ) -> list[replies.EventView]:
        return self._list_events(f"/rooms/{_(room)}/events", after, limit, newest)

    def machine_events(
        self, machine: str, after: str | None = None, limit: int | None = None, newest: int | None = None
    ) -> list[replies.EventView]:
        return self._list_events(f"/machines/{_(machine)}/events", after, limit, newest)

    def all_events(
        self, after: str | None = None, limit: int | None = None, newest: int | None = None
    ) -> list[replies.EventView]:
        return self._list_events("/events", after, limit, newest)

    def stream_events(
        self, room: str | None = None, after: str | None = None, newest: int | None = None
    ) -> Iterator[replies.EventView | StreamReset]:
        """Follow the events of a room, or of everything, for ever and across every interruption.

        Raises Unavailable if the server cannot be reached at the start; later interruptions are retried until it is
        back. A `StreamReset` means that events were missed: read a new snapshot.
        """
        path = f"{BASE}/rooms/{_(room)}/events" if room is not None else f"{BASE}/events"
        if newest is not None:
            path += f"?newest={newest}"
        return follow_events(self._transport, path, self._headers, after, self.limits, self._entropy, self._check)

    def alerts(self) -> list[replies.AlertView]:
        return self._get("/alerts", list[replies.AlertView])

    def server_limits(self) -> dict[str, float]:
        """Return the durations and limits of the server, by name; another version may have other names."""
        return self._get("/limits", dict[str, float])

    def healthz(self) -> replies.Health:
        """Return the health of the server's background loops. A late loop is an answer, not an error."""
        response = self._transport.request("GET", "/healthz", None, self._headers, self.timeout_s)
        if response.status != 503:
            self._check(response)
        return self._decode(replies.Health, response)

    # How a call is made.

    def _post_action(self, task: str, verb: str, body: msgspec.Struct) -> Task:
        return self._create(f"/tasks/{_(task)}/{verb}", body, Task)

    def _list_events(
        self, path: str, after: str | None, limit: int | None, newest: int | None
    ) -> list[replies.EventView]:
        return self._get(path, list[replies.EventView], {"after": after, "newest": newest, "limit": limit})

    def _get(self, path: str, shape: type[Answer], query: Query | None = None, wait_s: float = 0.0) -> Answer:
        params = {name: value for name, value in (query or {}).items() if value is not None}
        return self._call("GET", f"{path}?{urlencode(params)}" if params else path, None, shape, wait_s=wait_s)

    def _post(self, path: str, body: msgspec.Struct | None, shape: type[Answer]) -> Answer:
        return self._call("POST", path, body, shape)

    def _create(self, path: str, body: msgspec.Struct, shape: type[Answer]) -> Answer:
        """Post a body that creates or changes something: the idempotency key makes a second arrival harmless."""
        key = self._entropy.random_bytes(16).hex()
        return self._exchange("POST", path, body, partial(self._decode, shape), key=key)

    def _call(
        self, method: str, path: str, body: msgspec.Struct | None, shape: type[Answer], wait_s: float = 0.0
    ) -> Answer:
        return self._exchange(method, path, body, partial(self._decode, shape), wait_s=wait_s)

    def _exchange(
        self,
        method: str,
        path: str,
        body: msgspec.Struct | None,
        read: Callable[[Response], Answer],
        *,
        wait_s: float = 0.0,
        key: str | None = None,
    ) -> Answer:
        """Send the request until there is an answer, or until `patience_s` is over."""
        headers = self._headers | ({"Idempotency-Key": key} if key is not None else {})
        content = None if body is None else msgspec.json.encode(body)
        if content is not None:
            headers["Content-Type"] = "application/json"
        gives_up_at = self._clock.monotonic() + self.patience_s
        while True:
            try:
                response = self._transport.request(method, BASE + path, content, headers, self.timeout_s + wait_s)
                self._check(response)
                return read(response)
            except Unavailable:
                pause_s = self._pause_s_max * self._entropy.fraction()
                if self._clock.monotonic() + pause_s >= gives_up_at or self._has_given_up.wait(pause_s):
                    raise

    def _check(self, response: Response) -> None:
        """Raise the error that a response carries, if it does."""
        if response.status >= 400 and response.headers.get("content-type", "").startswith(problems.CONTENT_TYPE):
            raise problems.decode_error(response.status, response.body)
        if not 200 <= response.status < 300:
            raise self._foreign_response(f"answered {response.status}")

    def _read_claim(self, response: Response) -> replies.ClaimedTask | None:
        return None if response.status == 204 else self._decode(replies.ClaimedTask, response)

    def _decode(self, shape: type[Answer], response: Response) -> Answer:
        try:
            return msgspec.json.decode(response.body, type=shape)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise self._foreign_response(f"sent a body that cannot be decoded ({error})") from error

    def _foreign_response(self, behaviour: str) -> Unavailable:
        """Return the error for a response of a proxy or a login page: it counts as no answer."""
        return Unavailable(
            f"{self.url} {behaviour}: not a response of a Greenroom server.",
            "Check that GREENROOM_URL names a Greenroom server of this version, and check any proxy before it.",
            UNREACHABLE,
        )


def _(name: str) -> str:
    """Quote a name for a path: a value that is no name leads to a 404 and never to another route."""
    return quote(name, safe="")
