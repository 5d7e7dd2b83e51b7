"""Drives the real ASGI app in this process, under a moved clock and without sockets."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Self, TypeVar

import msgspec

from greenroom.clock import MovedClock
from greenroom.domain.reliability import Reliability
from greenroom.entropy import SeededEntropy
from greenroom.server.app import app, reference
from greenroom.server.doors import Doors
from greenroom.server.hosts import Hosts
from greenroom.service.opening import open_world
from greenroom.store.store import Store
from tests.service.stores import databases
from tests.waiting import PATIENCE_S

T = TypeVar("T")

HOST = "127.0.0.1:6464"


class Answer(msgspec.Struct):
    """The response to a request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Exchange:
    """One request in flight, as its client sees it. The client can disconnect."""

    def __init__(self, application: Any, scope: dict[str, Any], body: list[bytes]) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._unsent = body
        self._task = asyncio.create_task(application(scope, self._receive, self._send))
        self._task.add_done_callback(lambda task: self.chunks.put_nowait(None))

    def leave(self) -> None:
        """Close the connection."""
        self._gone.set()

    async def answer(self) -> Answer:
        """Wait until the app has finished the response, and return it."""
        chunks = []
        async with asyncio.timeout(PATIENCE_S):
            while (chunk := await self.chunks.get()) is not None:
                chunks.append(chunk)
            await self._task
        return Answer(self.status, self.headers, b"".join(chunks))

    async def frame(self) -> dict[str, str]:
        """The next event of a stream, comments skipped; an empty dict at the end of the stream."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                chunk = await self.chunks.get()
                if chunk is None:
                    return {}
                if chunk.startswith(b":"):
                    continue
                return dict(line.split(": ", 1) for line in chunk.decode().strip().splitlines())

    def is_done(self) -> bool:
        return self._task.done()

    async def _receive(self) -> dict[str, Any]:
        if self._unsent:
            chunk = self._unsent.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(self._unsent)}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            return
        if message.get("body"):
            self.chunks.put_nowait(message["body"])
        if not message.get("more_body"):
            self._gone.set()  # As uvicorn does: a complete response ends a pending `receive`.


class Desk:
    """A server in this process, and the client of it. Requests carry the operator's token unless another is given."""

    def __init__(self, limits: Reliability | None = None, store: Store | None = None, clock: MovedClock | None = None):
        self.clock = clock or MovedClock()
        self.limits = limits or Reliability(claim_wait_max_s=0.05, wishes_wait_max_s=0.05)
        self.store = store or databases.open(self.clock, self.limits)
        self.world = open_world(self.store, self.clock, SeededEntropy(7), self.limits)
        self.token: str | None = self.world.keys.operator_token()
        self._runner = asyncio.Runner()
        self.doors = self.run(self._doors())
        self.hosts = Hosts("127.0.0.1", 6464)
        self.app = app(self.doors, self.hosts)
        self.reference = reference(self.doors, self.hosts)

    async def _doors(self) -> Doors:
        return Doors(self.world)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.doors.close()
        self._runner.close()
        self.store.close()

    def run(self, story: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in which several requests may be in flight."""
        return self._runner.run(story)

    def pass_time(self, seconds: float) -> None:
        """Move the clock forward and tick the background loops at every sweep interval."""
        step = self.limits.sweep_interval_s
        while seconds > 0:
            self.clock.move(min(step, seconds))
            seconds -= step
            self.run(self.tick())

    async def tick(self) -> None:
        self.doors.healing.tick_sweep()
        self.doors.healing.tick_feed()

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "",
        headers: Mapping[str, str | None] | None = None,
        application: Any = None,
        chunks: list[bytes] | None = None,
    ) -> Exchange:
        """Start a request on the running loop. `body` is JSON, or bytes as they are; `token=""` is the operator's."""
        raw = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
        told: dict[str, str | None] = {"host": HOST, "content-length": str(len(raw))}
        token = self.token if token == "" else token
        if token is not None:
            told["authorization"] = f"Bearer {token}"
        if body is not None:
            told["content-type"] = "application/json"
        told.update(headers or {})
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in told.items() if value is not None],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 6464),
        }
        return Exchange(application or self.app, scope, chunks if chunks is not None else [raw])

    def call(self, method: str, path: str, body: Any = None, **how: Any) -> Answer:
        """Send a request and wait for its response."""

        async def story() -> Answer:
            return await self.send(method, path, body, **how).answer()

        return self.run(story())

    def get(self, path: str, **how: Any) -> Answer:
        return self.call("GET", path, **how)

    def post(self, path: str, body: Any = None, **how: Any) -> Answer:
        return self.call("POST", path, body, **how)

    def put(self, path: str, body: Any = None, **how: Any) -> Answer:
        return self.call("PUT", path, body, **how)

    def room(self, name: str = "r", roles: tuple[str, ...] = ("builder", "reviewer")) -> dict[str, Any]:
        answer = self.post("/api/v1/rooms", {"name": name, "roles": list(roles)})
        assert 201 == answer.status, answer.body
        room: dict[str, Any] = answer.json
        return room

    def join(self, role: str = "builder", connection: str = "A", room: str = "r") -> dict[str, Any]:
        answer = self.post(f"/api/v1/rooms/{room}/participants/{role}/join", {"connection_id": connection})
        assert 200 == answer.status, answer.body
        reply: dict[str, Any] = answer.json
        return reply

    def beat(self, role: str = "builder", connection: str = "A", room: str = "r") -> dict[str, Any]:
        answer = self.post(f"/api/v1/rooms/{room}/participants/{role}/heartbeat", {"connection_id": connection})
        assert 200 == answer.status, answer.body
        reply: dict[str, Any] = answer.json
        return reply

    def say(self, text: str = "do it", room: str = "r") -> dict[str, Any]:
        answer = self.post(f"/api/v1/rooms/{room}/messages", {"sender": "user", "text": text})
        assert 201 == answer.status, answer.body
        reply: dict[str, Any] = answer.json
        return reply

    def claim(self, role: str = "builder", connection: str = "A", room: str = "r", **more: Any) -> Answer:
        return self.post(f"/api/v1/rooms/{room}/tasks/claim", {"role": role, "connection_id": connection, **more})

    def act(self, task: dict[str, Any], verb: str, connection: str = "A", **more: Any) -> Answer:
        body = {"connection_id": connection, "attempt": task["attempt"], **more}
        return self.post(f"/api/v1/tasks/{task['id']}/{verb}", body)

    def look(self, room: str = "r") -> Any:
        return self.get(f"/api/v1/rooms/{room}").json
