"""Runs `greenroom work` as a process in a role, kills it, and starts it again."""

from __future__ import annotations

import random
import re
import threading
import time

from tests.acceptance.crash.mortals import End, Register
from tests.acceptance.house import House
from tests.acceptance.processes import Started

SITS = re.compile(r"working as \S+ in \S+ \(([^)]+)\)")
ADDS_ITS_WORD = ("sed", "s/$/ is done/")
OWN = {"GREENROOM_HEARTBEAT_INTERVAL_S": "20"}
"""The server says how often to beat; the own interval sets the request timeout, which is a quarter of it."""
LIVES_S = (0.5, 3.0)
FOR_EVER_S = float("inf")
LOOK_EVERY_S = 0.05
AGAIN_S = 1.0
TAKEN = 4


class Workshop(threading.Thread):
    """A role of a room. Each process but the last one is killed at a random moment."""

    def __init__(self, house: House, room: str, role: str, register: Register, kills: int, rng: random.Random) -> None:
        super().__init__(name=f"{room}.{role}", daemon=True)
        self._house, self._room, self._role = house, room, role
        self._words = ("work", room, "--role", role, "--then", "user", "--", *ADDS_ITS_WORD)
        self._register, self._kills, self._rng = register, kills, rng
        self.is_over = threading.Event()

    def run(self) -> None:
        kills_left, living = self._kills, list[str]()
        while not self.is_over.is_set():
            work = self._house.start(*self._words, **OWN)
            lives_s = self._rng.uniform(*LIVES_S) if kills_left else FOR_EVER_S
            ends_at = time.monotonic() + lives_s
            while work.poll() is None and time.monotonic() < ends_at and not self.is_over.is_set():
                time.sleep(LOOK_EVERY_S)
            if work.poll() is not None:
                self._has_ended(work)
            elif not self.is_over.is_set():
                kills_left -= 1
                work.kill()
            living = SITS.findall(work.err)
        self._bury_all_but(living)

    def _bury_all_but(self, living: list[str]) -> None:
        """Record all joined participants except the last as failed: they were killed, some before their log line."""
        if len(living) > 1:
            self._register.complaints.append(f"{self.name}: one process joined again and again: {living}")
        stream = f"room:{self._house.api.get(f'rooms/{self._room}')['id']}"
        for event in self._house.api.events():
            is_here = event["stream"] == stream and event["type"] == "participant.joined"
            told = event["data"]
            if is_here and told["role"] == self._role and told["connection_id"] not in living:
                self._register.bury(told["connection_id"], End.SILENT)

    def _has_ended(self, work: Started) -> None:
        """A process may exit by itself only while the killed one's lease still holds the role."""
        if work.poll() != TAKEN:
            self._register.complaints.append(f"{work.name} ended with {work.poll()}: {work.err[-2000:]}")
        self.is_over.wait(AGAIN_S)
