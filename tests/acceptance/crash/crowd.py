"""Generates load: users and agents that send requests without pause and record what was answered."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tests.acceptance.crash.ledger import Asked, Ledger
from tests.acceptance.crash.line import Line, Unheard, Unsent
from tests.waiting import PATIENCE_S, NotYet, wait_until

ROOM = "yard"
ROLES = ("builder", "reviewer", "painter")
WATCHER = "watcher"
"""A role without tasks."""
PLACES = 6
"""Requests that are active at a time: few enough that promotion of waiting ones happens, too."""
LEFT_ALONE = 0.3
REPEATED_AT_ONCE = 0.1
WITHOUT_KEY = 0.3
PAUSE_S = 0.02


class Client(threading.Thread):
    """Does one step after another until it is stopped."""

    def __init__(self, name: str, line: Line, ledger: Ledger, rng: random.Random) -> None:
        super().__init__(name=name, daemon=True)
        self.line, self.ledger, self.rng = line, ledger, rng
        self.is_stopping = threading.Event()
        self.gives_up_at = float("inf")
        self._number = 0

    def run(self) -> None:
        try:
            while not self.is_stopping.is_set():
                self.step()
        except Exception as error:
            self.ledger.complain(f"{self.name} failed: {error!r}")
        finally:
            self.line.close()

    def step(self) -> None:
        raise NotImplementedError

    def next_name(self) -> str:
        self._number += 1
        return f"{self.name}-{self._number}"

    def insist(self, asked: Asked) -> Any:
        """Send a request until it is answered; return the answer, or None when the time for it is over."""
        while time.monotonic() < self.gives_up_at:
            reply = self.ledger.send(self.line, asked)
            if reply is not None:
                if reply.status >= 300:
                    self.ledger.complain(f"{self.name}: {asked.path} {asked.body} was answered {reply}")
                return reply.body
            time.sleep(self.rng.uniform(0, PAUSE_S))
        self.ledger.complain(f"{self.name}: {asked.path} was not answered in time")
        return None


class Sender(Client):
    """A user who sends the room work. Some requests that were not answered are never sent again."""

    def step(self) -> None:
        text = self.next_name()
        key = None if self.rng.random() < WITHOUT_KEY else text
        body = {"sender": "user", "text": text, "to": self.rng.choice(ROLES)}
        asked = self.ledger.note(Asked(f"rooms/{ROOM}/messages", body, key, text))
        if self.ledger.send(self.line, asked) is None:
            if key is None or self.rng.random() < LEFT_ALONE:
                time.sleep(self.rng.uniform(0, PAUSE_S))
                return
            self.insist(asked)
        if key is not None and self.rng.random() < REPEATED_AT_ONCE:
            self.ledger.send(self.line, asked)


class Worker(Client):
    """An agent that never fails: it starts and hands off what it claims, whatever happens to the server."""

    def __init__(self, role: str, line: Line, ledger: Ledger, rng: random.Random) -> None:
        super().__init__(f"{role}s-agent", line, ledger, rng)
        self.role = role
        self.epochs: list[int] = []
        self._connection = ""
        self._tasks_left = 0

    def step(self) -> None:
        if not self._tasks_left:
            self._sit_down()
        task = self._persist(f"rooms/{ROOM}/tasks/claim", role=self.role, connection_id=self._connection, wait_s=0.2)
        if task:
            self._work(task)
            self._tasks_left -= 1

    def _sit_down(self) -> None:
        place = f"rooms/{ROOM}/participants/{self.role}"
        if self._connection:
            self._persist(f"{place}/leave", connection_id=self._connection)
        self._connection = self.next_name()
        joined = self._persist(f"{place}/join", connection_id=self._connection)
        if joined:
            self.epochs.append(joined["epoch"])
        self._tasks_left = self.rng.randint(5, 30)

    def _work(self, task: dict[str, Any]) -> None:
        token = task["token"] if self.rng.random() < 0.5 else None
        attempt = {"connection_id": self._connection, "attempt": task["attempt"]}

        def move(verb: str, text: str | None = None, **more: object) -> None:
            # Calls of an attempt are idempotent without a key, except for progress.
            key = None if self.rng.random() < WITHOUT_KEY and verb != "progress" else self.next_name()
            body = attempt | more | ({} if text is None else {"text": text})
            self.insist(self.ledger.note(Asked(f"tasks/{task['id']}/{verb}", body, key, text, token)))

        if self.rng.random() < 0.8:
            move("start")
        if self.rng.random() < 0.2:
            move("progress", self.next_name())
        following = ROLES.index(self.role) + 1
        if following < len(ROLES):
            move("handoff", self.next_name(), to=ROLES[following])
        else:
            move("complete", self.next_name())

    def _persist(self, path: str, **body: object) -> Any:
        """Send an idempotent request until it is answered; return the answer, or None."""
        while time.monotonic() < self.gives_up_at:
            try:
                reply = self.line.ask("POST", path, body)
            except (Unsent, Unheard):
                time.sleep(self.rng.uniform(0, PAUSE_S))
                continue
            if reply.status < 300:
                return reply.body
            if reply.status != 503:
                self.ledger.complain(f"{self.name}: {path} {body} was answered {reply}")
                return None
            time.sleep(PAUSE_S)
        self.ledger.complain(f"{self.name}: {path} was not answered in time")
        return None


class Crowd:
    """All clients of one test. `line` makes a new connection to the server, or to a proxy in front of it."""

    def __init__(self, line: Callable[[], Line], seed: int, senders: int = 4, workers: Sequence[str] = ROLES) -> None:
        self.ledger = Ledger()
        draw = random.Random(seed)

        def own() -> random.Random:
            return random.Random(draw.random())

        self.senders = [Sender(f"user{number}", line(), self.ledger, own()) for number in range(senders)]
        self.workers = [Worker(role, line(), self.ledger, own()) for role in workers]
        self.clients: list[Client] = [*self.senders, *self.workers]

    def start(self) -> None:
        for client in self.clients:
            client.start()

    def stop(self) -> None:
        """Let all clients finish what they are doing."""
        for client in self.clients:
            client.gives_up_at = time.monotonic() + PATIENCE_S
            client.is_stopping.set()
        for client in self.clients:
            client.join(2 * PATIENCE_S)
            assert not client.is_alive(), f"{client.name} did not stop"

    def goes_on(self, answers: int) -> None:
        """Wait until so many more requests are answered, however long each of them takes."""
        wanted = self.ledger.done_total + answers
        while (done := self.ledger.done_total) < wanted:
            wait_until(partial(self._is_answered, done), "one more request is answered", look_every_s=0.01)

    def _is_answered(self, done: int) -> bool:
        if self.ledger.done_total <= done:
            raise NotYet(self.ledger.complaints[:5])
        return True
