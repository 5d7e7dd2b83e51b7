"""Sends one HTTP request to the server and returns the response, over one kept-alive connection.

Options: `connect_timeout_s` (by default 5 s, within the request's own timeout). It does not retry, except once on a new
connection when the server has closed an idle one.
"""

import contextlib
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from greenroom.client.deadline_socket import DeadlineSocket
from greenroom.client.http_without_tls import HTTPConnection, HTTPException, HTTPResponse
from greenroom.clock import Clock, SystemClock
from greenroom.domain.errors import ConfigurationError, Unavailable
from greenroom.settings.server_address import describe_invalid, without_secrets

UNREACHABLE = "unreachable"
HTTPS_PORT = 443


class Response(NamedTuple):
    """A complete response. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """The port to the network. One thread sends; any other may `drop` the request that it waits for."""

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Response:
        """Send one request and return the response; raise Unavailable (`unreachable`) if none comes in time."""
        ...

    def stream(self, path: str, headers: Mapping[str, str], silence_s: float) -> tuple[Response, Iterator[bytes]]:
        """Open an endless response: return its head, and its lines until the server or `drop` ends it (Unavailable)."""
        ...

    def drop(self) -> None:
        """End the request in flight, which then raises Unavailable; its connection is not used again."""
        ...

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        ...


class HttpTransport:
    """One connection, kept alive between requests, and replaced after any error on it."""

    def __init__(self, url: str, connect_timeout_s: float = 5.0, clock: Clock | None = None) -> None:
        self._is_secure, self._host, self._port, self._base = _address_of(url.rstrip("/"))
        self.url = without_secrets(url)
        self._connect_timeout_s = connect_timeout_s
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._timed: DeadlineSocket | None = None
        self._connection: HTTPConnection | None = None
        self._is_dropped = False

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Response:
        with self._closed_on_error(timeout_s):
            response = self._send(method, path, body, headers, timeout_s)
            return Response(response.status, _headers_of(response), response.read())

    def stream(self, path: str, headers: Mapping[str, str], silence_s: float) -> tuple[Response, Iterator[bytes]]:
        with self._closed_on_error(silence_s):
            response = self._send("GET", path, None, headers, silence_s)
            head = Response(response.status, _headers_of(response), b"" if response.status == 200 else response.read())
        return head, self._lines(response, silence_s)

    @contextmanager
    def _closed_on_error(self, timeout_s: float) -> Iterator[None]:
        """Close the connection if the exchange inside the block fails. Raises Unavailable for an error of the network.

        Also after a signal: a response that was not read would be taken for that of the next request.
        """
        try:
            yield
        except BaseException as error:
            self.close()
            if isinstance(error, OSError | HTTPException | UnicodeError):
                raise self._unreachable(error, timeout_s) from error
            raise

    def drop(self) -> None:
        with self._lock:
            self._is_dropped = True
            if self._socket is not None:
                _shut_down(self._socket)

    def close(self) -> None:
        with self._lock:
            connection, self._connection, self._socket = self._connection, None, None
        if connection is not None:
            connection.close()

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> HTTPResponse:
        with self._lock:
            self._is_dropped = False
        if self._connection is not None and self._is_usable():
            try:
                return self._exchange(self._connection, method, path, body, headers, timeout_s)
            except ConnectionError:
                # The server may close an idle connection at the moment of its next use. That is no fault of the
                # server, and every call may be sent twice: it is sent again on a new connection.
                if self._is_dropped:
                    raise
        self.close()
        began_at = self._clock.monotonic()
        connection = self._connect(timeout_s)
        left_s = timeout_s - (self._clock.monotonic() - began_at)
        if left_s <= 0:
            raise TimeoutError
        return self._exchange(connection, method, path, body, headers, left_s)

    def _exchange(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout_s: float,
    ) -> HTTPResponse:
        assert self._timed is not None
        self._timed.begin_exchange(timeout_s)
        connection.request(method, self._base + path, body, dict(headers))
        return connection.getresponse()

    def _is_usable(self) -> bool:
        """Return whether the idle connection may be used again: nothing was received on it, not even its end."""
        if self._connection is None or self._connection.sock is None or self._socket is None:
            return False  # The server has announced that it closes the connection.
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def _connect(self, timeout_s: float) -> HTTPConnection:
        # A request may wait long for its response; a connection that is not accepted fails early.
        limit_s = min(timeout_s, self._connect_timeout_s)
        connection = HTTPConnection(self._host, self._port, timeout=limit_s)
        if self._is_secure:
            connection.default_port = HTTPS_PORT
            connection.port = self._port or HTTPS_PORT
        connection.connect()
        if self._is_secure:
            from greenroom.client.tls import wrap_in_tls  # noqa: PLC0415 - see `plain`

            connection.sock = wrap_in_tls(connection.sock, self._host)
        with self._lock:
            if self._is_dropped:
                connection.close()
                raise ConnectionAbortedError("the request was dropped")
            self._connection, self._socket = connection, connection.sock
            self._timed = DeadlineSocket(connection.sock, self._clock)
            connection.sock = self._timed
        return connection

    def _lines(self, response: HTTPResponse, silence_s: float) -> Iterator[bytes]:
        try:
            while True:
                assert self._timed is not None
                self._timed.begin_exchange(silence_s)
                line = response.readline()
                if not line:
                    raise ConnectionResetError("the server ended the stream")
                yield line.rstrip(b"\r\n")
        except (OSError, HTTPException) as error:
            raise self._unreachable(error, silence_s) from error
        finally:
            self.close()

    def _unreachable(self, error: Exception, timeout_s: float) -> Unavailable:
        if isinstance(error, TimeoutError):
            reason = f"it did not answer within {timeout_s:g} s"
        else:
            reason = str(error) or type(error).__name__
        return Unavailable(
            f"The server at {self.url} cannot be reached: {reason}.",
            "Check that it runs (`greenroom up` or `greenroom server`), and that GREENROOM_URL names it.",
            UNREACHABLE,
        )


def _headers_of(response: HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def _address_of(url: str) -> tuple[bool, str, int | None, str]:
    """Parse an address into (whether it is https, host, port, path prefix)."""
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname:
            return parts.scheme == "https", parts.hostname, parts.port, parts.path
    except ValueError:
        pass  # An invalid port or IPv6 address: reported below like the rest.
    raise ConfigurationError(
        f"{describe_invalid(url)} is not the address of a server.",
        "Set GREENROOM_URL to one like http://127.0.0.1:6464.",
    )


def _shut_down(connection: socket.socket) -> None:
    # A shutdown wakes the thread that reads; a close would not, and its descriptor could be reused meanwhile.
    # Below TLS: a closing message would have to be sent on a connection that may no longer transmit.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
