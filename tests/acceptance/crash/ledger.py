"""Records every request of the clients and every answer to it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance.crash.line import Line, Reply, Unheard, Unsent

UNAVAILABLE = 503
PERHAPS = "may have been done"


@dataclass
class Asked:
    """One request, however often it was sent. `text`, if any, is unique to it."""

    path: str
    body: dict[str, Any]
    key: str | None = None
    text: str | None = None
    token: str | None = None
    reply: Reply | None = None
    unheard: int = 0
    refused: int = 0
    repeats: int = 0

    @property
    def can_be_done(self) -> bool:
        """Return whether it succeeded, or was sent without an answer. Otherwise it must have had no effect."""
        return self.unheard > 0 or self.is_done

    @property
    def is_done(self) -> bool:
        return self.reply is not None and self.reply.status < 300

    @property
    def done(self) -> Any:
        """The decoded answer."""
        assert self.reply is not None
        return self.reply.body


@dataclass
class Ledger:
    """The requests of all clients, and the answers that should not have been given (`complaints`)."""

    asked: list[Asked] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    done_total: int = 0
    refusals: int = 0
    slowest_refusal_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, asked: Asked) -> Asked:
        with self._lock:
            self.asked.append(asked)
        return asked

    def complain(self, what: str) -> None:
        with self._lock:
            self.complaints.append(what)

    def answered(self) -> list[Asked]:
        """The requests that were answered with success so far."""
        with self._lock:
            return [asked for asked in self.asked if asked.is_done]

    def send(self, line: Line, asked: Asked) -> Reply | None:
        """Send it once; None if no answer came, or the store was unavailable."""
        began_at = time.monotonic()
        try:
            reply = line.ask("POST", asked.path, asked.body, asked.key, asked.token)
        except Unsent:
            return None
        except Unheard:
            asked.unheard += 1
            return None
        if reply.status == UNAVAILABLE:
            asked.refused += 1
            with self._lock:
                self.refusals += 1
            asked.unheard += PERHAPS in reply.body["guidance"]
            self.slowest_refusal_s = max(self.slowest_refusal_s, time.monotonic() - began_at)
            if not reply.body["guidance"]:
                self.complain(f"{asked.path} was refused without guidance: {reply}")
            return None
        if reply.status >= 500:
            self.complain(f"{asked.path} was answered {reply}")
        if asked.reply is None:
            asked.reply = reply
            with self._lock:
                self.done_total += asked.is_done
        else:
            asked.repeats += 1
            if asked.reply != reply:
                self.complain(f"{asked.path} under key {asked.key} was {asked.reply}, and the next time {reply}")
        return reply

    def figures(self) -> str:
        """The totals, for the output of the test."""
        lost = [asked for asked in self.asked if asked.unheard]
        open_ended = sum(not asked.is_done for asked in lost)
        return (
            f"{self.done_total} requests done and answered, {len(lost)} at least once sent without an answer"
            f" ({open_ended} of these never answered), {self.refusals} refusals"
            f" (slowest {self.slowest_refusal_s:.2f} s), {sum(asked.repeats for asked in self.asked)} repeats"
        )
