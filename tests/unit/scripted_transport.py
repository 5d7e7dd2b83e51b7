"""A transport that answers from a script and records the requests; and the replies that scripts are made of."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from greenroom.client.http_transport import Response
from greenroom.domain.errors import GreenroomError, Unavailable
from greenroom.domain.task import Task
from greenroom.testing import SeededEntropy
from greenroom.wire.problems import CONTENT_TYPE, STATUS_OF_CODE, make_problem
from greenroom.wire.replies import ClaimedTask, HeartbeatReply, JoinReply, TaskRef
from tests.waiting import PATIENCE_S

CONNECTION = f"conn_{os.getpid()}"
"""Unique to each test process: runs are found by their connection, and one test process must not end another's runs."""

Step = Response | Exception | Callable[[], Response]


class ScriptedTransport:
    """Answers each request with the next step of its script; a step that raises is a request without a response."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.requests: list[tuple[str, str, Any, dict[str, str], float]] = []
        self.drops = 0

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Response:
        content = None if body is None else msgspec.json.decode(body)
        self.requests.append((method, path, content, dict(headers), timeout_s))
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step() if callable(step) else step

    def stream(self, path: str, headers: Mapping[str, str], silence_s: float) -> tuple[Response, Iterator[bytes]]:
        response = self.request("GET", path, None, headers, silence_s)
        return response, self._lines(response)

    def drop(self) -> None:
        self.drops += 1

    def close(self) -> None:
        return

    def _lines(self, response: Response) -> Iterator[bytes]:
        yield from response.body.split(b"\n")
        raise unreachable()


def json_response(content: Any, status: int = 200) -> Response:
    return Response(status, {"content-type": "application/json"}, msgspec.json.encode(content))


def empty_response() -> Response:
    return Response(204, {}, b"")


def problem_response(code: str, detail: str = "No.") -> Response:
    body = msgspec.json.encode(make_problem(code, detail, "Do something else."))
    return Response(STATUS_OF_CODE[code], {"content-type": CONTENT_TYPE}, body)


def unreachable() -> Unavailable:
    return Unavailable("There is no answer.", "Wait.", "unreachable")


def make_task(**changes: Any) -> Task:
    fields: dict[str, Any] = {
        "id": "task_1",
        "room": "room_1",
        "request": "task_1",
        "target_role": "builder",
        "status": "in_progress",
        "attempt": 1,
        "claimed_by": CONNECTION,
        "last_holder": CONNECTION,
        "text": "build it",
        "created_at": "2026-11-20T23:46:34.120Z",
    }
    return Task(**{**fields, **changes})


def claimed_task(**changes: Any) -> ClaimedTask:
    return ClaimedTask(**{**msgspec.structs.asdict(make_task(status="acknowledged")), "token": "secret", **changes})


def join_reply(
    status: str = "ok", next_in_s: float = 25.0, task: TaskRef | None = None, spread_retries: bool = False
) -> JoinReply:
    return JoinReply(
        status=status, epoch=1, ready_until=None, next_in_s=next_in_s, task=task, spread_retries=spread_retries
    )


def heartbeat_reply(status: str = "ok", next_in_s: float = 25.0, task: TaskRef | None = None) -> HeartbeatReply:
    return HeartbeatReply(status=status, next_in_s=next_in_s, task=task)


class NoDelayEntropy(SeededEntropy):
    """Draws pauses of length zero, so that tests wait for nothing."""

    def fraction(self) -> float:
        return 0.0


class ScriptedFunction:
    """A function that returns or raises the next of its steps at each call, and records its arguments."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, *arguments: Any) -> Any:
        self.calls.append(arguments)
        step = self.steps.pop(0)
        if isinstance(step, GreenroomError):
            raise step
        return step() if callable(step) else step


def on_another_thread(function: Callable[[], None]) -> None:
    """Call a function on a thread of its own, where it sees no state of this thread, and wait until it has returned."""
    thread = threading.Thread(target=function)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
