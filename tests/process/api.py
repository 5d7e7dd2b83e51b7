"""Calls Greenroom's HTTP API with http.client and JSON only, without any part of the product."""

from __future__ import annotations

import http.client
import json
import threading
import time
from contextlib import closing, suppress
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from tests.waiting import PATIENCE_S, wait_until

ROUNDING_S = 0.01
"""By so much an instant in an event may differ from a span of the server's monotonic clock, in seconds."""


class ApiAnswer(NamedTuple):
    status: int
    body: Any
    content_type: str


class ReceivedEvent(NamedTuple):
    """An event, and when it arrived here: by the monotonic clock, and by the wall clock that dates events."""

    event: dict[str, Any]
    at: float
    at_wall: float


class Api:
    """A client with one token. Each call has a connection of its own."""

    def __init__(self, url: str, token: str | None) -> None:
        self.address = urlsplit(url).netloc
        self.token = token

    def call(self, method: str, path: str, body: object = None, raw: bytes | None = None, **headers: str) -> ApiAnswer:
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE_S)
        content = raw if raw is not None else None if body is None else json.dumps(body).encode()
        all_headers = ({"Authorization": f"Bearer {self.token}"} if self.token else {}) | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        if content is not None:
            all_headers.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path if path.startswith("/") else f"/api/v1/{path}", content, all_headers)
            response = connection.getresponse()
            text = response.read()
            kind = response.headers.get("content-type", "")
            return ApiAnswer(response.status, json.loads(text) if text and "json" in kind else text, kind)
        except http.client.HTTPException as error:
            raise OSError(f"no answer: {error!r}") from error
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        answer = self.call("GET", path)
        assert answer.status == 200, (path, answer)
        return answer.body

    def post(self, path: str, **body: object) -> Any:
        answer = self.call("POST", path, body)
        assert answer.status in (200, 201), (path, answer)
        return answer.body

    def events(self) -> list[dict[str, Any]]:
        """All events so far, in commit order."""
        gathered: list[dict[str, Any]] = []
        while page := self.get(f"events?limit=1000{after_last(gathered)}"):
            gathered += page
        return gathered

    def position(self) -> int:
        """The position of the newest event."""
        return max((int(event["pos"]) for event in self.events()), default=0)

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric, summed over all labels that are not given."""
        families = text_string_to_metric_families(self.call("GET", "/metrics").body.decode())
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        assert samples, f"the server has no metric {name}"
        return float(sum(sample.value for sample in samples if labels.items() <= sample.labels.items()))

    def count(self, kind: str, **data: object) -> int:
        """The number of events of a type with that data."""
        return len(
            [event for event in self.events() if event["type"] == kind and data.items() <= event["data"].items()]
        )


class EventReader:
    """Reads the live stream of all events and records when each one arrives. It reconnects after a break."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.received: list[ReceivedEvent] = []
        self._cursor: str | None = None
        self._is_closed = False
        self._connection: http.client.HTTPConnection | None = None
        self._has_opened = threading.Event()
        self._thread = threading.Thread(target=self._read, name="live", daemon=True)
        self._thread.start()
        assert self._has_opened.wait(PATIENCE_S), "the live stream did not open"

    def find(self, kind: str, after: ReceivedEvent | int | None = None, **data: object) -> list[ReceivedEvent]:
        """The events of a type with that data that came after another event, or after a position."""
        start = after.event["pos"] if isinstance(after, ReceivedEvent) else after or 0
        return [
            received
            for received in list(self.received)
            if received.event["type"] == kind
            and received.event["pos"] > start
            and data.items() <= received.event["data"].items()
        ]

    def wait_for(self, kind: str, after: ReceivedEvent | int | None = None, **data: object) -> ReceivedEvent:
        """Wait for the first such event and return it."""
        return wait_until(lambda: self.find(kind, after, **data), f"the live reader sees {kind} {data or ''}")[0]

    def close(self) -> None:
        self._is_closed = True
        if self._connection is not None and self._connection.sock is not None:
            with suppress(OSError):
                self._connection.sock.shutdown(2)
        self._thread.join(PATIENCE_S)

    def _read(self) -> None:
        while not self._is_closed:
            # A silent connection outlasts every wait for an event: a reader that the server does not notify gets none.
            connection = self._connection = http.client.HTTPConnection(self._api.address, timeout=2 * PATIENCE_S)
            # AttributeError: a response whose socket another thread has shut down may have lost its file in mid-read.
            with suppress(OSError, http.client.HTTPException, ValueError, AttributeError), closing(connection):
                self._follow(connection)
            time.sleep(0.05)

    def _follow(self, connection: http.client.HTTPConnection) -> None:
        headers = {"Authorization": f"Bearer {self._api.token}", "Accept": "text/event-stream"}
        headers |= {"Last-Event-ID": self._cursor} if self._cursor is not None else {}
        connection.request("GET", "/api/v1/events", headers=headers)
        with connection.getresponse() as response:
            self._has_opened.set()
            for line in response:
                if line.startswith(b"data:"):
                    data = json.loads(line[5:])
                    self._cursor = data["cursor"]
                    if "type" in data:  # Neither a heartbeat nor a reset.
                        self.received.append(ReceivedEvent(data, time.monotonic(), time.time()))


def after_last(events: list[dict[str, Any]]) -> str:
    """The query parameter by which a list of events goes on after these."""
    return f"&after={events[-1]['cursor']}" if events else ""


def committed_at(event: dict[str, Any]) -> float:
    """When an event was committed, in seconds of the wall clock."""
    return datetime.fromisoformat(event["at"]).timestamp()
