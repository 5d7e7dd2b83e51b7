"""An agent that only sends heartbeats and records how they are answered."""

from __future__ import annotations

import threading
import time
from contextlib import closing

from tests.acceptance.crash.line import Line, Unheard, Unsent

EVERY_S = 0.05


class Beater:
    """Joins a role and sends heartbeats over a connection of its own, as long as its `with` block lasts."""

    def __init__(self, line: Line, room: str, role: str) -> None:
        self.statuses: list[str] = []
        self.slowest_s = 0.0
        self._line = line
        self._place = f"rooms/{room}/participants/{role}"
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="beater", daemon=True)

    def __enter__(self) -> Beater:
        joined = self._line.ask("POST", f"{self._place}/join", {"connection_id": "beater"})
        assert joined.status == 200, joined
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopping.set()
        self._thread.join()

    def _beat(self) -> None:
        with closing(self._line):
            while not self._is_stopping.wait(EVERY_S):
                began_at = time.monotonic()
                try:
                    reply = self._line.ask("POST", f"{self._place}/heartbeat", {"connection_id": "beater"})
                    self.statuses.append(reply.body["status"] if reply.status == 200 else str(reply))
                except (Unsent, Unheard) as error:
                    self.statuses.append(repr(error))
                self.slowest_s = max(self.slowest_s, time.monotonic() - began_at)
