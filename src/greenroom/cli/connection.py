"""Connects the verbs of users with the server: sessions, paged lists, and streams that report interruptions."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar

from greenroom.client.api_client import ApiClient
from greenroom.client.http_transport import HttpTransport, Response, Transport
from greenroom.domain.errors import Unavailable
from greenroom.settings.resolve import Settings

Report = Callable[[str], None]


class ListedRecord(Protocol):
    """A record of a paged list. The next page starts after the id of the last one."""

    @property
    def id(self) -> str: ...


ListedT = TypeVar("ListedT", bound=ListedRecord)


def open_session(settings: Settings, transport: Transport | None = None, patience_s: float = 0.0) -> ApiClient:
    """Open a session with the configured server.

    By default (`patience_s` 0) an unreachable server is reported at once, because a user waits for the answer. No lease
    depends on these requests, so each may take its full `request_timeout_s`, however short the heartbeat interval is.
    """
    interval_s = 4 * settings.limits.request_timeout_s
    return ApiClient(
        settings.url, settings.token, settings.limits, transport, patience_s=patience_s, interval_s=interval_s
    )


def open_reporting_session(settings: Settings, report: Report) -> ApiClient:
    """Open a session whose stream reports by `tell` when it is interrupted and when it resumes."""
    return open_session(settings, ReportingTransport(HttpTransport(settings.url), report))


def read_pages(fetch: Callable[[str | None], list[ListedT]]) -> list[ListedT]:
    """Read all pages of a list. `fetch` gets the id after which a page starts, None for the first."""
    records: list[ListedT] = []
    while page := fetch(records[-1].id if records else None):
        records += page
    return records


class ReportingTransport:
    """A transport that reports once when its stream breaks, and once when it is back."""

    def __init__(self, transport: Transport, tell: Report) -> None:
        self._transport = transport
        self._report = tell
        self._was_connected = False
        self._is_broken = False

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Response:
        return self._transport.request(method, path, body, headers, timeout_s)

    def stream(self, path: str, headers: Mapping[str, str], silence_s: float) -> tuple[Response, Iterator[bytes]]:
        try:
            head, lines = self._transport.stream(path, headers, silence_s)
        except Unavailable as error:
            self._report_break(error)
            raise
        if self._is_broken:
            self._report("the connection is back")
        self._was_connected, self._is_broken = True, False
        return head, self._lines(lines)

    def drop(self) -> None:
        self._transport.drop()

    def close(self) -> None:
        self._transport.close()

    def _lines(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from lines
        except Unavailable as error:
            self._report_break(error)
            raise

    def _report_break(self, error: Unavailable) -> None:
        if self._was_connected and not self._is_broken:
            self._is_broken = True
            self._report(f"{error.detail} Retrying until it is back.")
