"""An agent that only sends heartbeats and records how they are answered."""

from __future__ import annotations

import threading
import time
from contextlib import closing

from tests.process.crash.api_connection import ApiConnection, RequestNotSent, RequestUnanswered

INTERVAL_S = 0.05


class HeartbeatClient:
    """Joins a role and sends heartbeats over a connection of its own, as long as its `with` block lasts."""

    def __init__(self, connection: ApiConnection, room: str, role: str) -> None:
        self.statuses: list[str] = []
        self.slowest_s = 0.0
        self._connection = connection
        self._path = f"rooms/{room}/participants/{role}"
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat-client", daemon=True)

    def __enter__(self) -> HeartbeatClient:
        joined = self._connection.request("POST", f"{self._path}/join", {"connection_id": "heartbeat-client"})
        assert joined.status == 200, joined
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopping.set()
        self._thread.join()

    def _beat(self) -> None:
        with closing(self._connection):
            while not self._is_stopping.wait(INTERVAL_S):
                began_at = time.monotonic()
                try:
                    reply = self._connection.request(
                        "POST", f"{self._path}/heartbeat", {"connection_id": "heartbeat-client"}
                    )
                    self.statuses.append(reply.body["status"] if reply.status == 200 else str(reply))
                except (RequestNotSent, RequestUnanswered) as error:
                    self.statuses.append(repr(error))
                self.slowest_s = max(self.slowest_s, time.monotonic() - began_at)
