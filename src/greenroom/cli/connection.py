"""How people's verbs reach the server. Knows sessions, pages and interruptions; must not know what is asked."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar

from greenroom.client.session import Session
from greenroom.client.transport import HttpTransport, Response, Transport
from greenroom.domain.errors import Unavailable
from greenroom.settings.resolve import Settings
from greenroom.wire.requests import INTEGER_MAX

NEWEST = INTEGER_MAX
"""A cursor that no event will reach: a stream asked for what comes after it begins with a reset to the newest event."""

Tell = Callable[[str], None]


class Record(Protocol):
    """What is listed in pages: each record has an id, after which the next page begins."""

    @property
    def id(self) -> str: ...


Listed = TypeVar("Listed", bound=Record)


def session_of(settings: Settings, transport: Transport | None = None, patience_s: float = 0.0) -> Session:
    """A session with the server in force. A person who waits for an answer is told at once that nobody is there.

    Nobody's presence hangs on these requests, so that they have the whole time that one may take, however short the
    interval of heartbeats is.
    """
    unhurried_s = 4 * settings.limits.request_timeout_s
    return Session(
        settings.url, settings.token, settings.limits, transport, patience_s=patience_s, interval_s=unhurried_s
    )


def telling_session(settings: Settings, tell: Tell) -> Session:
    """A session whose stream says when it was interrupted and when it goes on."""
    return session_of(settings, TellingTransport(HttpTransport(settings.url), tell))


def all_of(fetch: Callable[[str | None], list[Listed]]) -> list[Listed]:
    """Everything that a paged list holds."""
    gathered: list[Listed] = []
    while page := fetch(gathered[-1].id if gathered else None):
        gathered += page
    return gathered


class TellingTransport:
    """A transport that says once when its stream breaks, and once when it is back."""

    def __init__(self, transport: Transport, tell: Tell) -> None:
        self._transport = transport
        self._tell = tell
        self._was_met = False
        self._is_broken = False

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Response:
        return self._transport.request(method, path, body, headers, timeout_s)

    def stream(self, path: str, headers: Mapping[str, str], silence_s: float) -> tuple[Response, Iterator[bytes]]:
        try:
            head, lines = self._transport.stream(path, headers, silence_s)
        except Unavailable as error:
            self._broke(error)
            raise
        if self._is_broken:
            self._tell("the connection is back")
        self._was_met, self._is_broken = True, False
        return head, self._lines(lines)

    def drop(self) -> None:
        self._transport.drop()

    def close(self) -> None:
        self._transport.close()

    def _lines(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from lines
        except Unavailable as error:
            self._broke(error)
            raise

    def _broke(self, error: Unavailable) -> None:
        if self._was_met and not self._is_broken:
            self._is_broken = True
            self._tell(f"{error.detail} It is tried again until it is back.")
