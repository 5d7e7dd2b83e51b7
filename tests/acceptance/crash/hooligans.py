"""Clients that disconnect in mid-request or before the answer, and clients that send slowly."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from tests.acceptance.crash.crowd import ROLES, ROOM, Client
from tests.acceptance.crash.ledger import Asked, Ledger
from tests.acceptance.crash.line import Line

ANSWER_UNREAD_S = (0.0, 0.002, 0.02)
DRIP_S_MAX = 1.0


def opening(client: Client) -> Asked:
    """A message of a user that opens a task."""
    text = client.next_name()
    body = {"sender": "user", "text": text, "to": client.rng.choice(ROLES)}
    return client.ledger.note(Asked(f"rooms/{ROOM}/messages", body, text=text))


class Cutter(Client):
    """Resets its connection in mid-request, which then must have no effect, or without reading the answer."""

    def step(self) -> None:
        asked = opening(self)
        if self.rng.random() < 0.5:
            self.line.hang_up(asked.path, asked.body, part=self.rng.uniform(0, 0.99))
        else:
            asked.unheard += 1
            self.line.hang_up(asked.path, asked.body, after_s=self.rng.choice(ANSWER_UNREAD_S))
        time.sleep(0.01)


class Dawdler(Client):
    """Sends its request in small pieces, and reads the answer."""

    def step(self) -> None:
        asked = opening(self)
        asked.reply = self.line.drip(asked.path, asked.body, for_s=self.rng.uniform(0, DRIP_S_MAX))


def hooligans(line: Callable[[], Line], ledger: Ledger, rng: random.Random) -> list[Client]:
    """Three of each kind."""
    kinds: tuple[type[Client], ...] = (Cutter, Dawdler) * 3
    return [
        kind(f"{kind.__name__.lower()}{number}", line(), ledger, random.Random(rng.random()))
        for number, kind in enumerate(kinds)
    ]
