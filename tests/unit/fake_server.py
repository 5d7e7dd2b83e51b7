"""A fake server with one room, one role and the tasks that wait for it. It records every call."""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from greenroom.client.http_transport import Response
from greenroom.clock import SystemClock
from tests.unit.scripted_transport import (
    claimed_task,
    empty_response,
    join_reply,
    json_response,
    make_task,
    unreachable,
)
from tests.waiting import PATIENCE_S


class FakeServer:
    """Gives out each of its tasks once, and records every call by the last part of its path (`join`, `claim`, ...)."""

    def __init__(self, *tasks: str) -> None:
        self.pending = list(tasks)
        self.status: dict[str, str] = {}
        self.claim_error: tuple[int, dict[str, Any]] | None = None
        self.is_unreachable = False
        self.loses_response_of: set[str] = set()
        self.changed = threading.Condition()
        self._calls: list[tuple[str, Any]] = []

    def add_task(self, task: str) -> None:
        """Add a pending task. A claim that waits already gets it now."""
        with self.changed:
            self.pending.append(task)
            self.changed.notify_all()

    def bodies(self, call: str) -> list[Any]:
        """The bodies of the calls of that name."""
        with self.changed:
            return [body for name, body in self._calls if name == call]

    def wait_for(self, call: str, count: int = 1) -> list[Any]:
        """The bodies of the calls of that name, once there are that many."""
        with self.changed:
            is_called = self.changed.wait_for(lambda: sum(name == call for name, _ in self._calls) >= count, PATIENCE_S)
            assert is_called, f"{call} was not called {count} times: {self._calls}"
        return self.bodies(call)

    def answer(self, path: str, body: Any, is_dropped: Callable[[], bool]) -> Response:
        """Answer one call; a claim waits as long as it asks for."""
        if self.is_unreachable:
            raise unreachable()
        call = path.partition("?")[0].rsplit("/", 1)[-1]
        with self.changed:
            self._calls.append((call, body))
            self.changed.notify_all()
        if call in self.loses_response_of:
            raise unreachable()  # the call was handled, but its response is lost
        if call == "join":
            return json_response(join_reply())
        if call == "leave":
            return json_response({"status": "ok"})
        if call == "token":
            return json_response({"token": "of-the-role"})
        if call == "claim":
            return self._claim(body, is_dropped)
        task = path.split("/")[4]
        return json_response(make_task(id=task, status=self.status.get(task, "in_progress"), claimed_by=self._holder()))

    def _claim(self, body: Any, is_dropped: Callable[[], bool]) -> Response:
        if self.claim_error is not None:
            status, problem = self.claim_error
            return Response(status, {"content-type": "application/problem+json"}, msgspec.json.encode(problem))
        deadline = SystemClock().monotonic() + body.get("wait_s", 0)
        with self.changed:
            while not self.pending:
                if is_dropped():
                    raise unreachable()
                if SystemClock().monotonic() >= deadline:
                    return empty_response()
                self.changed.wait(0.02)
            task = self.pending.pop(0)
        holder = body["connection_id"]
        return json_response(claimed_task(id=task, token=f"token-of-{task}", claimed_by=holder, last_holder=holder))

    def _holder(self) -> str:
        bodies = self.bodies("claim")
        return str(bodies[-1]["connection_id"]) if bodies else "nobody"


class FakeServerTransport:
    """A connection to the fake server."""

    def __init__(self, server: FakeServer) -> None:
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
        raise unreachable()

    def drop(self) -> None:
        self._is_dropped = True
        self.drops += 1

    def close(self) -> None:
        return
