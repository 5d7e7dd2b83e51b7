"""Clients that disconnect in mid-request or before the answer, and clients that send slowly."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from tests.process.crash.api_connection import ApiConnection
from tests.process.crash.load_generator import ROLES, ROOM, LoadClient
from tests.process.crash.request_log import RequestLog, SentRequest

RESET_AFTER_S = (0.0, 0.002, 0.02)
SEND_S_MAX = 1.0


def new_message(client: LoadClient) -> SentRequest:
    """A message of a user that opens a task."""
    text = client.next_name()
    body = {"sender": "user", "text": text, "to": client.rng.choice(ROLES)}
    return client.request_log.add(SentRequest(f"rooms/{ROOM}/messages", body, text=text))


class ResettingClient(LoadClient):
    """Resets its connection in mid-request, which then must have no effect, or without reading the answer."""

    def step(self) -> None:
        request = new_message(self)
        if self.rng.random() < 0.5:
            self.connection.send_and_reset(request.path, request.body, part=self.rng.uniform(0, 0.99))
        else:
            request.unanswered += 1
            self.connection.send_and_reset(request.path, request.body, after_s=self.rng.choice(RESET_AFTER_S))
        time.sleep(0.01)


class SlowClient(LoadClient):
    """Sends its request in small pieces, and reads the answer."""

    def step(self) -> None:
        request = new_message(self)
        request.reply = self.connection.send_slowly(request.path, request.body, for_s=self.rng.uniform(0, SEND_S_MAX))


def disruptive_clients(
    connection: Callable[[], ApiConnection], request_log: RequestLog, rng: random.Random
) -> list[LoadClient]:
    """Three of each kind."""
    kinds: tuple[type[LoadClient], ...] = (ResettingClient, SlowClient) * 3
    return [
        kind(f"{kind.__name__.lower()}{number}", connection(), request_log, random.Random(rng.random()))
        for number, kind in enumerate(kinds)
    ]
