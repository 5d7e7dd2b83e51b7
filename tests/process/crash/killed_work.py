"""Runs `greenroom work` as a process in a role, kills it, and starts it again."""

from __future__ import annotations

import random
import re
import threading
import time

from tests.process.crash.failing_agents import AgentRecord, FailureKind
from tests.process.installation import Installation
from tests.process.processes import StartedProcess

JOINED = re.compile(r"working as \S+ in \S+ \(([^)]+)\)")
COMMAND = ("sed", "s/$/ is done/")
OWN_DURATIONS = {"GREENROOM_HEARTBEAT_INTERVAL_S": "20"}
"""The server says how often to beat; the own interval sets the request timeout, which is a quarter of it."""
RUNS_S = (0.5, 3.0)
FOREVER_S = float("inf")
LOOK_EVERY_S = 0.05
RETRY_S = 1.0
CONFLICT = 4


class KilledWork(threading.Thread):
    """A role of a room. Each process but the last one is killed at a random moment."""

    def __init__(
        self, installation: Installation, room: str, role: str, record: AgentRecord, kills: int, rng: random.Random
    ) -> None:
        super().__init__(name=f"{room}.{role}", daemon=True)
        self._installation, self._room, self._role = installation, room, role
        self._arguments = ("work", room, "--role", role, "--then", "user", "--", *COMMAND)
        self._record, self._kills, self._rng = record, kills, rng
        self.is_over = threading.Event()

    def run(self) -> None:
        kills_left, last_connections = self._kills, list[str]()
        while not self.is_over.is_set():
            work = self._installation.start(*self._arguments, **OWN_DURATIONS)
            runs_s = self._rng.uniform(*RUNS_S) if kills_left else FOREVER_S
            ends_at = time.monotonic() + runs_s
            while work.poll() is None and time.monotonic() < ends_at and not self.is_over.is_set():
                time.sleep(LOOK_EVERY_S)
            if work.poll() is not None:
                self._check_exit(work)
            elif not self.is_over.is_set():
                kills_left -= 1
                work.kill()
            last_connections = JOINED.findall(work.err)
        self._record_failures(last_connections)

    def _record_failures(self, last_connections: list[str]) -> None:
        """Record all joined participants except the last as failed: they were killed, some before their log line."""
        if len(last_connections) > 1:
            self._record.complaints.append(f"{self.name}: one process joined again and again: {last_connections}")
        stream = f"room:{self._installation.api.get(f'rooms/{self._room}')['id']}"
        for event in self._installation.api.events():
            is_in_room = event["stream"] == stream and event["type"] == "participant.joined"
            data = event["data"]
            if is_in_room and data["role"] == self._role and data["connection_id"] not in last_connections:
                self._record.add_failure(data["connection_id"], FailureKind.SILENT)

    def _check_exit(self, work: StartedProcess) -> None:
        """A process may exit by itself only while the killed one's lease still holds the role."""
        if work.poll() != CONFLICT:
            self._record.complaints.append(f"{work.name} ended with {work.poll()}: {work.err[-2000:]}")
        self.is_over.wait(RETRY_S)
