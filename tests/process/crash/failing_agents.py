"""Agents that fail at any moment of their work, one after another in each role.

The connection of a failed agent is dropped in mid-request or between two requests; its exit is reported, or nothing is
reported, or its role is taken over; and some agents whose lease expired come back late with their result.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tests.process.crash.api_connection import ApiConnection, RawReply, RequestNotSent, RequestUnanswered

WORK_S_MAX = 0.02
PAUSE_S = 0.1
AWAY_S_MAX = 6.0
"""How long an agent that comes back was away: less than a lease, or so long that its task was reassigned."""


class FailureKind(Enum):
    """What happens after an agent has failed."""

    EXITED = "its exit is reported"
    SILENT = "nothing is reported"
    REPLACED = "another agent takes its role over"
    LATE = "it comes back with its result"


class FailureMoment(Enum):
    """When it fails: after sending that request and without reading the answer, or in the work itself."""

    CLAIMING, STARTING, WORKING, COMPLETING = range(4)


@dataclass
class AgentRecord:
    """What all roles' agents record together."""

    failed: set[str] = field(default_factory=set)
    accepted: list[str] = field(default_factory=list)
    too_late: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    failures: list[FailureKind] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add_failure(self, connection_id: str, failure_kind: FailureKind) -> None:
        with self.lock:
            self.failed.add(connection_id)
            self.failures.append(failure_kind)

    def add_result(self, task: str, connection_id: str, reply: RawReply) -> None:
        """Record how a result was answered. Only an agent that has failed may be too late."""
        with self.lock:
            if reply.status == 200:
                self.accepted.append(task)
            elif reply.status == 409 and reply.body["code"] == "superseded" and connection_id in self.failed:
                self.too_late.append(task)
            else:
                self.complaints.append(f"{connection_id} completed {task} and was answered {reply}")


@dataclass
class DelayedResult:
    """A result that an agent hands in after it has been away."""

    due_at: float
    task: str
    body: dict[str, Any]


class AgentFailed(Exception):
    """This agent has failed."""


class FailingAgents(threading.Thread):
    """A role of a room, and all the agents that join it, one after another."""

    def __init__(
        self,
        room: str,
        role: str,
        connection: Callable[[], ApiConnection],
        record: AgentRecord,
        failure_kinds: list[FailureKind],
        rng: random.Random,
    ) -> None:
        super().__init__(name=f"{room}.{role}", daemon=True)
        self._room, self._role, self._new_connection = room, role, connection
        self._record, self._failure_kinds, self._rng = record, failure_kinds, rng
        self._delayed_results: list[DelayedResult] = []
        self._agents_total = 0
        self._connection = connection()
        self._connection_id = ""
        self.is_over = threading.Event()

    def run(self) -> None:
        try:
            takes_over = False
            while not self.is_over.is_set():
                takes_over = self._run_agent(takes_over)
        except Exception as error:
            self._record.complaints.append(f"{self.name} stopped with an error: {error!r}")
        finally:
            self._connection.close()

    def _run_agent(self, takes_over: bool) -> bool:
        """Run one agent until it fails; return whether the next one may take its role over without waiting."""
        self._agents_total += 1
        self._connection_id = f"{self.name}.{self._agents_total}"
        failure_kind = self._failure_kinds.pop() if self._failure_kinds else None
        tasks_left = self._rng.randint(0, 4) if failure_kind else -1
        try:
            self._join(takes_over)
            while not self.is_over.is_set():
                fails_at = self._rng.choice(list(FailureMoment)) if tasks_left == 0 else None
                tasks_left -= self._work(fails_at, failure_kind)
        except AgentFailed:
            assert failure_kind is not None
            self._record.add_failure(self._connection_id, failure_kind)
            self._connection.close()
            if failure_kind is FailureKind.EXITED:
                self._request(f"{self._path}/leave", connection_id=self._connection_id, cause="exited")
        return failure_kind in (FailureKind.EXITED, FailureKind.REPLACED)

    @property
    def _path(self) -> str:
        return f"rooms/{self._room}/participants/{self._role}"

    def _join(self, takes_over: bool) -> None:
        while not self.is_over.is_set():
            self._send_delayed_results()
            joined = self._request(f"{self._path}/join", connection_id=self._connection_id, if_vacant=not takes_over)
            if joined.status == 200:
                return
            time.sleep(PAUSE_S)

    def _work(self, fails_at: FailureMoment | None, failure_kind: FailureKind | None) -> int:
        """Claim a task and do it, or fail on the way; return the number of tasks that were done."""
        self._send_delayed_results()
        claim = {"role": self._role, "connection_id": self._connection_id, "wait_s": 0.3}
        if fails_at is FailureMoment.CLAIMING and failure_kind is not FailureKind.LATE:
            self._send_and_fail(f"rooms/{self._room}/tasks/claim", claim)
        claimed = self._request(f"rooms/{self._room}/tasks/claim", **claim)
        if claimed.status == 409 and claimed.body["code"] == "rejoin_required":
            self._join(takes_over=False)  # The computer was so busy that its lease expired: it rejoins.
            return 0
        if claimed.status != 200:
            assert claimed.status == 204, claimed
            return 0
        task = claimed.body["id"]
        held = {"connection_id": self._connection_id, "attempt": claimed.body["attempt"]}
        result = held | {"text": f"{claimed.body['text']} is done"}
        if fails_at is not None and failure_kind is FailureKind.LATE:
            self._delayed_results.append(
                DelayedResult(time.monotonic() + self._rng.uniform(0, AWAY_S_MAX), task, result)
            )
            raise AgentFailed
        if fails_at is FailureMoment.STARTING:
            self._send_and_fail(f"tasks/{task}/start", held)
        started = self._request(f"tasks/{task}/start", **held)
        assert started.status == 200, started
        time.sleep(self._rng.uniform(0, WORK_S_MAX))
        if fails_at is FailureMoment.WORKING:
            raise AgentFailed
        if fails_at is FailureMoment.COMPLETING:
            self._send_and_fail(f"tasks/{task}/complete", result)
        self._record.add_result(task, self._connection_id, self._request(f"tasks/{task}/complete", **result))
        return 1

    def _send_delayed_results(self) -> None:
        for delayed in [each for each in self._delayed_results if each.due_at <= time.monotonic()]:
            self._delayed_results.remove(delayed)
            reply = self._request(f"tasks/{delayed.task}/complete", **delayed.body)
            self._record.add_result(delayed.task, delayed.body["connection_id"], reply)

    def _send_and_fail(self, path: str, body: dict[str, Any]) -> None:
        connection = self._new_connection()
        connection.send_and_reset(path, body, after_s=self._rng.choice((0.0, 0.002, 0.02)))
        raise AgentFailed

    def _request(self, path: str, **body: object) -> RawReply:
        """Send a request until it is answered; all requests here are idempotent."""
        while True:
            try:
                reply = self._connection.request("POST", path, body)
            except (RequestNotSent, RequestUnanswered):
                time.sleep(PAUSE_S)
                continue
            if reply.status != 503:
                return reply
            time.sleep(PAUSE_S)
