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

from tests.acceptance.crash.line import Line, Reply, Unheard, Unsent

WORK_S_MAX = 0.02
PAUSE_S = 0.1
SLEEP_S_MAX = 6.0
"""How long an agent that comes back was away: less than a lease, or so long that its task was reassigned."""


class End(Enum):
    """What happens after an agent has failed."""

    EXITED = "its exit is reported"
    SILENT = "nothing is reported"
    REPLACED = "another agent takes its role over"
    LATE = "it comes back with its result"


class Moment(Enum):
    """When it fails: after sending that request and without reading the answer, or in the work itself."""

    CLAIMING, STARTING, WORKING, COMPLETING = range(4)


@dataclass
class Register:
    """What all roles' agents record together."""

    dead: set[str] = field(default_factory=set)
    accepted: list[str] = field(default_factory=list)
    too_late: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def bury(self, connection: str, end: End) -> None:
        with self.lock:
            self.dead.add(connection)
            self.ends.append(end)

    def hear(self, task: str, connection: str, reply: Reply) -> None:
        """Record how a result was answered. Only an agent that has failed may be too late."""
        with self.lock:
            if reply.status == 200:
                self.accepted.append(task)
            elif reply.status == 409 and reply.body["code"] == "superseded" and connection in self.dead:
                self.too_late.append(task)
            else:
                self.complaints.append(f"{connection} completed {task} and was answered {reply}")


@dataclass
class Sleeper:
    """A result that an agent hands in after it has been away."""

    wakes_at: float
    task: str
    body: dict[str, Any]


class Died(Exception):
    """This agent has failed."""


class Seat(threading.Thread):
    """A role of a room, and all the agents that join it, one after another."""

    def __init__(
        self, room: str, role: str, line: Callable[[], Line], register: Register, lives: list[End], rng: random.Random
    ) -> None:
        super().__init__(name=f"{room}.{role}", daemon=True)
        self._room, self._role, self._new_line = room, role, line
        self._register, self._lives, self._rng = register, lives, rng
        self._sleepers: list[Sleeper] = []
        self._agents = 0
        self._line = line()
        self._connection = ""
        self.is_over = threading.Event()

    def run(self) -> None:
        try:
            takes_over = False
            while not self.is_over.is_set():
                takes_over = self._live(takes_over)
        except Exception as error:
            self._register.complaints.append(f"{self.name} stopped with an error: {error!r}")
        finally:
            self._line.close()

    def _live(self, takes_over: bool) -> bool:
        """Run one agent until it fails; return whether the next one may take its role over without waiting."""
        self._agents += 1
        self._connection = f"{self.name}.{self._agents}"
        end = self._lives.pop() if self._lives else None
        tasks_left = self._rng.randint(0, 4) if end else -1
        try:
            self._sit_down(takes_over)
            while not self.is_over.is_set():
                dies_at = self._rng.choice(list(Moment)) if tasks_left == 0 else None
                tasks_left -= self._work(dies_at, end)
        except Died:
            assert end is not None
            self._register.bury(self._connection, end)
            self._line.close()
            if end is End.EXITED:
                self._ask(f"{self._place}/leave", connection_id=self._connection, cause="exited")
        return end in (End.EXITED, End.REPLACED)

    @property
    def _place(self) -> str:
        return f"rooms/{self._room}/participants/{self._role}"

    def _sit_down(self, takes_over: bool) -> None:
        while not self.is_over.is_set():
            self._wake_sleepers()
            joined = self._ask(f"{self._place}/join", connection_id=self._connection, if_vacant=not takes_over)
            if joined.status == 200:
                return
            time.sleep(PAUSE_S)

    def _work(self, dies_at: Moment | None, end: End | None) -> int:
        """Claim a task and do it, or fail on the way; return the number of tasks that were done."""
        self._wake_sleepers()
        claim = {"role": self._role, "connection_id": self._connection, "wait_s": 0.3}
        if dies_at is Moment.CLAIMING and end is not End.LATE:
            self._die_unheard(f"rooms/{self._room}/tasks/claim", claim)
        claimed = self._ask(f"rooms/{self._room}/tasks/claim", **claim)
        if claimed.status == 409 and claimed.body["code"] == "rejoin_required":
            self._sit_down(takes_over=False)  # The computer was so busy that its lease expired: it rejoins.
            return 0
        if claimed.status != 200:
            assert claimed.status == 204, claimed
            return 0
        task = claimed.body["id"]
        held = {"connection_id": self._connection, "attempt": claimed.body["attempt"]}
        result = held | {"text": f"{claimed.body['text']} is done"}
        if dies_at is not None and end is End.LATE:
            self._sleepers.append(Sleeper(time.monotonic() + self._rng.uniform(0, SLEEP_S_MAX), task, result))
            raise Died
        if dies_at is Moment.STARTING:
            self._die_unheard(f"tasks/{task}/start", held)
        started = self._ask(f"tasks/{task}/start", **held)
        assert started.status == 200, started
        time.sleep(self._rng.uniform(0, WORK_S_MAX))
        if dies_at is Moment.WORKING:
            raise Died
        if dies_at is Moment.COMPLETING:
            self._die_unheard(f"tasks/{task}/complete", result)
        self._register.hear(task, self._connection, self._ask(f"tasks/{task}/complete", **result))
        return 1

    def _wake_sleepers(self) -> None:
        for sleeper in [each for each in self._sleepers if each.wakes_at <= time.monotonic()]:
            self._sleepers.remove(sleeper)
            reply = self._ask(f"tasks/{sleeper.task}/complete", **sleeper.body)
            self._register.hear(sleeper.task, sleeper.body["connection_id"], reply)

    def _die_unheard(self, path: str, body: dict[str, Any]) -> None:
        line = self._new_line()
        line.hang_up(path, body, after_s=self._rng.choice((0.0, 0.002, 0.02)))
        raise Died

    def _ask(self, path: str, **body: object) -> Reply:
        """Send a request until it is answered; all requests here are idempotent."""
        while True:
            try:
                reply = self._line.ask("POST", path, body)
            except (Unsent, Unheard):
                time.sleep(PAUSE_S)
                continue
            if reply.status != 503:
                return reply
            time.sleep(PAUSE_S)
