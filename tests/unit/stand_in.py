"""A fake server with one room, one role and the tasks that wait for it. It records every call."""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from greenroom.client.transport import Response
from greenroom.clock import SystemClock
from tests.unit.scripted import answer, claimed, joined, nothing, silence, task_of
from tests.waiting import PATIENCE_S


class Server:
    """Gives out each of its tasks once, and records every call by the last part of its path (`join`, `claim`, ...)."""

    def __init__(self, *tasks: str) -> None:
        self.waiting = list(tasks)
        self.status: dict[str, str] = {}
        self.claims: tuple[int, dict[str, Any]] | None = None
        self.is_away = False
        self.loses: set[str] = set()
        self.changed = threading.Condition()
        self._calls: list[tuple[str, Any]] = []

    def give(self, task: str) -> None:
        """Add a pending task. A claim that waits already gets it now."""
        with self.changed:
            self.waiting.append(task)
            self.changed.notify_all()

    def called(self, verb: str) -> list[Any]:
        """The bodies of the calls of that name."""
        with self.changed:
            return [body for name, body in self._calls if name == verb]

    def wait_for(self, verb: str, count: int = 1) -> list[Any]:
        """The bodies of the calls of that name, once there are that many."""
        with self.changed:
            found = self.changed.wait_for(lambda: sum(name == verb for name, _ in self._calls) >= count, PATIENCE_S)
            assert found, f"{verb} was not called {count} times: {self._calls}"
        return self.called(verb)

    def answer(self, path: str, body: Any, is_dropped: Callable[[], bool]) -> Response:
        """Answer one call; a claim waits as long as it asks for."""
        if self.is_away:
            raise silence()
        verb = path.partition("?")[0].rsplit("/", 1)[-1]
        with self.changed:
            self._calls.append((verb, body))
            self.changed.notify_all()
        if verb in self.loses:
            raise silence()  # the call was handled, but its response is lost
        if verb == "join":
            return answer(joined())
        if verb == "leave":
            return answer({"status": "ok"})
        if verb == "token":
            return answer({"token": "of-the-role"})
        if verb == "claim":
            return self._claim(body, is_dropped)
        task = path.split("/")[4]
        return answer(task_of(id=task, status=self.status.get(task, "in_progress"), claimed_by=self._holder()))

    def _claim(self, body: Any, is_dropped: Callable[[], bool]) -> Response:
        if self.claims is not None:
            status, content = self.claims
            return Response(status, {"content-type": "application/problem+json"}, msgspec.json.encode(content))
        deadline = SystemClock().monotonic() + body.get("wait_s", 0)
        with self.changed:
            while not self.waiting:
                if is_dropped():
                    raise silence()
                if SystemClock().monotonic() >= deadline:
                    return nothing()
                self.changed.wait(0.02)
            task = self.waiting.pop(0)
        holder = body["connection_id"]
        return answer(claimed(id=task, token=f"token-of-{task}", claimed_by=holder, last_holder=holder))

    def _holder(self) -> str:
        claims = self.called("claim")
        return str(claims[-1]["connection_id"]) if claims else "nobody"


class StandInTransport:
    """A connection to the fake server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._is_dropped = False
        self.drops = 0

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Response:
        self._is_dropped = False
        content = None if body is None else msgspec.json.decode(body)
        return self._server.answer(path, content, lambda: self._is_dropped)

    def stream(self, path: str, headers: Mapping[str, str], silence_s: float) -> tuple[Response, Iterator[bytes]]:
        raise silence()

    def drop(self) -> None:
        self._is_dropped = True
        self.drops += 1

    def close(self) -> None:
        return
