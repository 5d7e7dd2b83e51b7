"""Generates load: users and agents that send requests without pause and record what was answered."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tests.process.crash.api_connection import ApiConnection, RequestNotSent, RequestUnanswered
from tests.process.crash.request_log import RequestLog, SentRequest
from tests.waiting import PATIENCE_S, NotYet, wait_until

ROOM = "load"
ROLES = ("builder", "reviewer", "painter")
HEARTBEAT_ROLE = "heartbeats"
"""A role without tasks."""
REQUESTS_MAX = 6
"""Requests that are active at a time: few enough that promotion of waiting ones happens, too."""
ABANDONED_SHARE = 0.3
REPEATED_SHARE = 0.1
WITHOUT_KEY_SHARE = 0.3
PAUSE_S = 0.02


class LoadClient(threading.Thread):
    """Does one step after another until it is stopped."""

    def __init__(self, name: str, connection: ApiConnection, request_log: RequestLog, rng: random.Random) -> None:
        super().__init__(name=name, daemon=True)
        self.connection, self.request_log, self.rng = connection, request_log, rng
        self.is_stopping = threading.Event()
        self.deadline = float("inf")
        self._number = 0

    def run(self) -> None:
        try:
            while not self.is_stopping.is_set():
                self.step()
        except Exception as error:
            self.request_log.add_complaint(f"{self.name} failed: {error!r}")
        finally:
            self.connection.close()

    def step(self) -> None:
        raise NotImplementedError

    def next_name(self) -> str:
        self._number += 1
        return f"{self.name}-{self._number}"

    def send_until_answered(self, request: SentRequest) -> Any:
        """Send a request until it is answered; return the answer, or None when the time for it is over."""
        while time.monotonic() < self.deadline:
            reply = self.request_log.send(self.connection, request)
            if reply is not None:
                if reply.status >= 300:
                    self.request_log.add_complaint(f"{self.name}: {request.path} {request.body} was answered {reply}")
                return reply.body
            time.sleep(self.rng.uniform(0, PAUSE_S))
        self.request_log.add_complaint(f"{self.name}: {request.path} was not answered in time")
        return None


class MessageSender(LoadClient):
    """A user who sends the room work. Some requests that were not answered are never sent again."""

    def step(self) -> None:
        text = self.next_name()
        key = None if self.rng.random() < WITHOUT_KEY_SHARE else text
        body = {"sender": "user", "text": text, "to": self.rng.choice(ROLES)}
        request = self.request_log.add(SentRequest(f"rooms/{ROOM}/messages", body, key, text))
        if self.request_log.send(self.connection, request) is None:
            if key is None or self.rng.random() < ABANDONED_SHARE:
                time.sleep(self.rng.uniform(0, PAUSE_S))
                return
            self.send_until_answered(request)
        if key is not None and self.rng.random() < REPEATED_SHARE:
            self.request_log.send(self.connection, request)


class LoadAgent(LoadClient):
    """An agent that never fails: it starts and hands off what it claims, whatever happens to the server."""

    def __init__(self, role: str, connection: ApiConnection, request_log: RequestLog, rng: random.Random) -> None:
        super().__init__(f"{role}s-agent", connection, request_log, rng)
        self.role = role
        self.epochs: list[int] = []
        self._connection_id = ""
        self._tasks_left = 0

    def step(self) -> None:
        if not self._tasks_left:
            self._join()
        task = self._post_until_answered(
            f"rooms/{ROOM}/tasks/claim", role=self.role, connection_id=self._connection_id, wait_s=0.2
        )
        if task:
            self._work(task)
            self._tasks_left -= 1

    def _join(self) -> None:
        path = f"rooms/{ROOM}/participants/{self.role}"
        if self._connection_id:
            self._post_until_answered(f"{path}/leave", connection_id=self._connection_id)
        self._connection_id = self.next_name()
        joined = self._post_until_answered(f"{path}/join", connection_id=self._connection_id)
        if joined:
            self.epochs.append(joined["epoch"])
        self._tasks_left = self.rng.randint(5, 30)

    def _work(self, task: dict[str, Any]) -> None:
        token = task["token"] if self.rng.random() < 0.5 else None
        attempt = {"connection_id": self._connection_id, "attempt": task["attempt"]}

        def post(verb: str, text: str | None = None, **more: object) -> None:
            # Calls of an attempt are idempotent without a key, except for progress.
            key = None if self.rng.random() < WITHOUT_KEY_SHARE and verb != "progress" else self.next_name()
            body = attempt | more | ({} if text is None else {"text": text})
            self.send_until_answered(
                self.request_log.add(SentRequest(f"tasks/{task['id']}/{verb}", body, key, text, token))
            )

        if self.rng.random() < 0.8:
            post("start")
        if self.rng.random() < 0.2:
            post("progress", self.next_name())
        following = ROLES.index(self.role) + 1
        if following < len(ROLES):
            post("handoff", self.next_name(), to=ROLES[following])
        else:
            post("complete", self.next_name())

    def _post_until_answered(self, path: str, **body: object) -> Any:
        """Send an idempotent request until it is answered; return the answer, or None."""
        while time.monotonic() < self.deadline:
            try:
                reply = self.connection.request("POST", path, body)
            except (RequestNotSent, RequestUnanswered):
                time.sleep(self.rng.uniform(0, PAUSE_S))
                continue
            if reply.status < 300:
                return reply.body
            if reply.status != 503:
                self.request_log.add_complaint(f"{self.name}: {path} {body} was answered {reply}")
                return None
            time.sleep(PAUSE_S)
        self.request_log.add_complaint(f"{self.name}: {path} was not answered in time")
        return None


class LoadGenerator:
    """All clients of one test. `connection` makes a new connection to the server, or to a proxy in front of it."""

    def __init__(
        self, connection: Callable[[], ApiConnection], seed: int, senders: int = 4, workers: Sequence[str] = ROLES
    ) -> None:
        self.request_log = RequestLog()
        draw = random.Random(seed)

        def own() -> random.Random:
            return random.Random(draw.random())

        self.senders = [
            MessageSender(f"user{number}", connection(), self.request_log, own()) for number in range(senders)
        ]
        self.workers = [LoadAgent(role, connection(), self.request_log, own()) for role in workers]
        self.clients: list[LoadClient] = [*self.senders, *self.workers]

    def start(self) -> None:
        for client in self.clients:
            client.start()

    def stop(self) -> None:
        """Let all clients finish what they are doing."""
        for client in self.clients:
            client.deadline = time.monotonic() + PATIENCE_S
            client.is_stopping.set()
        for client in self.clients:
            client.join(2 * PATIENCE_S)
            assert not client.is_alive(), f"{client.name} did not stop"

    def wait_for_answers(self, answers: int) -> None:
        """Wait until so many more requests are answered, however long each of them takes."""
        wanted = self.request_log.done_total + answers
        while (done := self.request_log.done_total) < wanted:
            wait_until(partial(self._is_answered, done), "one more request is answered", poll_interval_s=0.01)

    def _is_answered(self, done: int) -> bool:
        if self.request_log.done_total <= done:
            raise NotYet(self.request_log.complaints[:5])
        return True
