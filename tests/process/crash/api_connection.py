"""A connection to the API that distinguishes requests never sent from requests never answered."""

from __future__ import annotations

import http.client
import json
import socket
import time
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.process.proxy import RESET_ON_CLOSE
from tests.waiting import PATIENCE_S

PIECES = 20


class RawReply(NamedTuple):
    """An answer with its exact bytes."""

    status: int
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw) if self.raw else None


class RequestNotSent(Exception):
    """The request was not sent: it cannot have had an effect."""


class RequestUnanswered(Exception):
    """The request was sent, at least in part, and no complete answer came back: it may have been done."""


class ApiConnection:
    """Keeps its connection open between requests."""

    def __init__(self, url: str, token: str, timeout_s: float = PATIENCE_S) -> None:
        self.address = urlsplit(url).netloc
        self.token = token
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None

    def request(
        self, method: str, path: str, body: object = None, key: str | None = None, token: str | None = None
    ) -> RawReply:
        """Send one request and read its answer. Raises RequestNotSent or RequestUnanswered."""
        headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        connection = self._connect()
        try:
            connection.request(method, f"/api/v1/{path}", None if body is None else json.dumps(body).encode(), headers)
            response = connection.getresponse()
            return RawReply(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise RequestUnanswered(repr(error)) from error

    def send_and_reset(self, path: str, body: object, after_s: float = 0.0, part: float = 1.0) -> None:
        """Send one request, or the first part of it, and reset the connection without reading an answer."""
        whole = self._encode(path, body)
        with suppress(OSError), self._open_socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            sock.sendall(whole[: int(len(whole) * part)])
            time.sleep(after_s)

    def send_slowly(self, path: str, body: object, for_s: float) -> RawReply:
        """Send one request in small pieces, and read its answer."""
        whole = self._encode(path, body)
        step = max(1, len(whole) // PIECES)
        with self._open_socket() as sock:
            for start in range(0, len(whole), step):
                sock.sendall(whole[start : start + step])
                time.sleep(for_s / PIECES)
            response = http.client.HTTPResponse(sock, method="POST")
            response.begin()
            with response:
                return RawReply(response.status, response.read())

    def _open_socket(self) -> socket.socket:
        host, _, port = self.address.rpartition(":")
        return socket.create_connection((host, int(port)), self._timeout_s)

    def _encode(self, path: str, body: object) -> bytes:
        content = json.dumps(body).encode()
        head = (
            f"POST /api/v1/{path} HTTP/1.1\r\nHost: {self.address}\r\nAuthorization: Bearer {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is None or self._connection.sock is None:
            connection = http.client.HTTPConnection(self.address, timeout=self._timeout_s)
            try:
                connection.connect()
            except OSError as error:
                raise RequestNotSent(repr(error)) from error
            with suppress(OSError):
                connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connection = connection
        return self._connection
