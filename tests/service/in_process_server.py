"""Drives the real ASGI app in this process, under a moved clock and without sockets."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Self, TypeVar

import msgspec

from greenroom.domain.limits import Limits
from greenroom.server.allowed_hosts import AllowedHosts
from greenroom.store.store import Store
from greenroom.testing import MovedClock
from greenroom.testing.in_process import SteppedApp
from greenroom.wire.replies import HEARTBEAT_EVENT
from tests.service.store_factory import store_factory
from tests.waiting import PATIENCE_S

T = TypeVar("T")

HOST = "127.0.0.1:6464"


class AsgiResponse(msgspec.Struct):
    """The response to a request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class AsgiExchange:
    """One request in flight, as its client sees it. The client can disconnect."""

    def __init__(self, application: Any, scope: dict[str, Any], body: list[bytes]) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._disconnected = asyncio.Event()
        self._unsent_chunks = body
        self._task = asyncio.create_task(application(scope, self._receive, self._send))
        self._task.add_done_callback(lambda task: self.chunks.put_nowait(None))

    def disconnect(self) -> None:
        """Close the connection."""
        self._disconnected.set()

    async def response(self) -> AsgiResponse:
        """Wait until the app has finished the response, and return it."""
        received = []
        async with asyncio.timeout(PATIENCE_S):
            while (chunk := await self.chunks.get()) is not None:
                received.append(chunk)
            await self._task
        return AsgiResponse(self.status, self.headers, b"".join(received))

    async def next_frame(self) -> dict[str, str]:
        """The next event or heartbeat of a stream; an empty dict at the end of the stream."""
        async with asyncio.timeout(PATIENCE_S):
            chunk = await self.chunks.get() or b""
        return dict(line.split(": ", 1) for line in chunk.decode().strip().splitlines())

    async def next_event(self) -> dict[str, str]:
        """The next event of a stream, heartbeats skipped; an empty dict at the end of the stream."""
        async with asyncio.timeout(PATIENCE_S):
            while (frame := await self.next_frame()).get("event") == HEARTBEAT_EVENT:
                pass
        return frame

    def is_done(self) -> bool:
        return self._task.done()

    async def _receive(self) -> dict[str, Any]:
        if self._unsent_chunks:
            chunk = self._unsent_chunks.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(self._unsent_chunks)}
        await self._disconnected.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            return
        if message.get("body"):
            self.chunks.put_nowait(message["body"])
        if not message.get("more_body"):
            self._disconnected.set()  # As uvicorn does: a complete response ends a pending `receive`.


class InProcessServer:
    """A server in this process, and the client of it. Requests carry the operator's token unless another is given."""

    def __init__(self, limits: Limits | None = None, store: Store | None = None, clock: MovedClock | None = None):
        self.clock = clock or MovedClock()
        self.limits = limits or Limits(claim_wait_max_s=0.05, assignments_wait_max_s=0.05)
        self.store = store or store_factory.open(self.clock, self.limits)
        self.hosts = AllowedHosts("127.0.0.1", 6464)
        self._runner = asyncio.Runner()
        self._stepped_app = self.run(self._create_app())
        self.service_context = self._stepped_app.service_context
        self.context = self._stepped_app.context
        self.app = self._stepped_app.app
        self.token: str | None = self._stepped_app.token

    async def _create_app(self) -> SteppedApp:
        return SteppedApp(self.store, self.clock, self.limits, self.hosts, seed=7)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()
        self._runner.close()
        self.store.close()

    @property
    def event_loop(self) -> asyncio.AbstractEventLoop:
        return self._runner.get_loop()

    def run(self, scenario: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in which several requests may be in flight."""
        return self._runner.run(scenario)

    def pass_time(self, seconds: float) -> None:
        """Move the clock forward and tick the background loops at every sweep interval."""
        for step_s in self._stepped_app.split_into_steps(seconds):
            self.run(self._stepped_app.step(step_s))

    async def tick_loops(self) -> None:
        await self._stepped_app.tick()

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
    ) -> AsgiExchange:
        """Start a request on the running loop. `body` is JSON, or bytes as they are; `token=""` is the operator's."""
        raw_body = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
        sent_headers: dict[str, str | None] = {"host": HOST, "content-length": str(len(raw_body))}
        token = self.token if token == "" else token
        if token is not None:
            sent_headers["authorization"] = f"Bearer {token}"
        if body is not None:
            sent_headers["content-type"] = "application/json"
        sent_headers.update(headers or {})
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
            "headers": [(name.encode(), value.encode()) for name, value in sent_headers.items() if value is not None],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 6464),
        }
        return AsgiExchange(application or self.app, scope, chunks if chunks is not None else [raw_body])

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> AsgiResponse:
        """Send a request and wait for its response."""

        async def scenario() -> AsgiResponse:
            return await self.send(method, path, body, **options).response()

        return self.run(scenario())

    def get(self, path: str, **options: Any) -> AsgiResponse:
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> AsgiResponse:
        return self.call("POST", path, body, **options)

    def put(self, path: str, body: Any = None, **options: Any) -> AsgiResponse:
        return self.call("PUT", path, body, **options)

    def create_room(self, name: str = "r", roles: tuple[str, ...] = ("builder", "reviewer")) -> dict[str, Any]:
        response = self.post("/api/v1/rooms", {"name": name, "roles": list(roles)})
        assert 201 == response.status, response.body
        room: dict[str, Any] = response.json
        return room

    def join(self, role: str = "builder", connection: str = "A", room: str = "r") -> dict[str, Any]:
        response = self.post(f"/api/v1/rooms/{room}/participants/{role}/join", {"connection_id": connection})
        assert 200 == response.status, response.body
        reply: dict[str, Any] = response.json
        return reply

    def beat(self, role: str = "builder", connection: str = "A", room: str = "r") -> dict[str, Any]:
        response = self.post(f"/api/v1/rooms/{room}/participants/{role}/heartbeat", {"connection_id": connection})
        assert 200 == response.status, response.body
        reply: dict[str, Any] = response.json
        return reply

    def send_message(self, text: str = "do it", room: str = "r") -> dict[str, Any]:
        response = self.post(f"/api/v1/rooms/{room}/messages", {"sender": "user", "text": text})
        assert 201 == response.status, response.body
        reply: dict[str, Any] = response.json
        return reply

    def claim(self, role: str = "builder", connection: str = "A", room: str = "r", **extra_fields: Any) -> AsgiResponse:
        return self.post(
            f"/api/v1/rooms/{room}/tasks/claim", {"role": role, "connection_id": connection, **extra_fields}
        )

    def act_on_task(
        self, task: dict[str, Any], action: str, connection: str = "A", **extra_fields: Any
    ) -> AsgiResponse:
        body = {"connection_id": connection, "attempt": task["attempt"], **extra_fields}
        return self.post(f"/api/v1/tasks/{task['id']}/{action}", body)

    def show_room(self, room: str = "r") -> Any:
        return self.get(f"/api/v1/rooms/{room}").json
