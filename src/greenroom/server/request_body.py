"""Reads the body of a request, within a limit, and what is left of it before an error is sent.

A connection that is closed while more data arrives is reset, and a client that is still sending then never reads the
error. So the rest of the body is read and discarded first, for at most `request_timeout_s` seconds and
DRAINED_BYTES_MAX bytes.
"""

import asyncio
from http import HTTPStatus
from typing import Any, Final

from greenroom.domain.limits import DRAINED_BYTES_MAX
from greenroom.server.request import Receive, Scope
from greenroom.server.request_headers import RequestHeaders
from greenroom.server.response import HttpError


class IncomingBody:
    """The body of one request, and whether all of it has been received."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope: Final = scope
        self._receive: Final = receive
        self._has_begun = False
        self._has_ended = False

    async def receive(self) -> Any:
        """Receive an ASGI message, as the app's `receive`."""
        message: Any = await self._receive()
        self._record(message)
        return message

    async def read(self, headers: RequestHeaders, bytes_max: int) -> bytes:
        """Read the whole body. Raises HttpError: 413 above `bytes_max` bytes, 400 if the client disconnects first."""
        length = headers.get(b"content-length")
        if length is not None and length.isdigit() and int(length) > bytes_max:
            raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Request Entity Too Large")
        whole = bytearray()
        while not self._has_ended:
            message = await self._receive()
            self._record(message)
            if message["type"] != "http.request":
                raise HttpError(HTTPStatus.BAD_REQUEST, "The body broke off")
            whole += message.get("body", b"")
            if len(whole) > bytes_max:
                raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Request Entity Too Large")
        return bytes(whole)

    async def drain(self, wait_s: float) -> None:
        """Read and discard the rest of the body, for at most `wait_s` seconds and DRAINED_BYTES_MAX bytes."""
        if not self._has_begun and not self._is_being_sent():
            return
        bytes_left = DRAINED_BYTES_MAX
        try:
            async with asyncio.timeout(wait_s):
                while not self._has_ended and bytes_left > 0:
                    bytes_left -= len((await self.receive()).get("body", b""))
        except TimeoutError:
            return

    def _record(self, message: Any) -> None:
        self._has_begun = True
        if message["type"] != "http.request" or not message.get("more_body"):
            self._has_ended = True

    def _is_being_sent(self) -> bool:
        """Whether the client sends a body unasked. One that sends Expect waits until the server asks for it."""
        names = {name for name, _ in self._scope["headers"]}
        return b"expect" not in names and not names.isdisjoint((b"content-length", b"transfer-encoding"))
