"""Records every request of the clients and every answer to it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from tests.process.crash.api_connection import ApiConnection, RawReply, RequestNotSent, RequestUnanswered

UNAVAILABLE = 503
MAYBE_DONE = "may have been done"


@dataclass
class SentRequest:
    """One request, however often it was sent. `text`, if any, is unique to it."""

    path: str
    body: dict[str, Any]
    key: str | None = None
    text: str | None = None
    token: str | None = None
    reply: RawReply | None = None
    unanswered: int = 0
    refused: int = 0
    repeats: int = 0

    @property
    def may_be_done(self) -> bool:
        """Return whether it succeeded, or was sent without an answer. Otherwise it must have had no effect."""
        return self.unanswered > 0 or self.is_done

    @property
    def is_done(self) -> bool:
        return self.reply is not None and self.reply.status < 300

    @property
    def answer(self) -> Any:
        """The decoded answer."""
        assert self.reply is not None
        return self.reply.body


@dataclass
class RequestLog:
    """The requests of all clients, and the answers that should not have been given (`complaints`)."""

    requests: list[SentRequest] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    done_total: int = 0
    refusals: int = 0
    slowest_refusal_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, request: SentRequest) -> SentRequest:
        with self._lock:
            self.requests.append(request)
        return request

    def add_complaint(self, what: str) -> None:
        with self._lock:
            self.complaints.append(what)

    def answered(self) -> list[SentRequest]:
        """The requests that were answered with success so far."""
        with self._lock:
            return [request for request in self.requests if request.is_done]

    def send(self, connection: ApiConnection, request: SentRequest) -> RawReply | None:
        """Send it once; None if no answer came, or the store was unavailable."""
        began_at = time.monotonic()
        try:
            reply = connection.request("POST", request.path, request.body, request.key, request.token)
        except RequestNotSent:
            return None
        except RequestUnanswered:
            request.unanswered += 1
            return None
        if reply.status == UNAVAILABLE:
            request.refused += 1
            with self._lock:
                self.refusals += 1
            request.unanswered += MAYBE_DONE in reply.body["guidance"]
            self.slowest_refusal_s = max(self.slowest_refusal_s, time.monotonic() - began_at)
            if not reply.body["guidance"]:
                self.add_complaint(f"{request.path} was refused without guidance: {reply}")
            return None
        if reply.status >= 500:
            self.add_complaint(f"{request.path} was answered {reply}")
        if request.reply is None:
            request.reply = reply
            with self._lock:
                self.done_total += request.is_done
        else:
            request.repeats += 1
            if request.reply != reply:
                self.add_complaint(
                    f"{request.path} under key {request.key} was {request.reply}, and the next time {reply}"
                )
        return reply

    def summary(self) -> str:
        """The totals, for the output of the test."""
        lost = [request for request in self.requests if request.unanswered]
        open_ended = sum(not request.is_done for request in lost)
        return (
            f"{self.done_total} requests done and answered, {len(lost)} at least once sent without an answer"
            f" ({open_ended} of these never answered), {self.refusals} refusals"
            f" (slowest {self.slowest_refusal_s:.2f} s), {sum(request.repeats for request in self.requests)} repeats"
        )
