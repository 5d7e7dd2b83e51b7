"""Reads the rest of a request's body before an error is sent.

A connection that is closed while more data arrives is reset, and a client that is still sending then never reads the
error. So the rest of the body is read and discarded first, for at most `request_timeout_s` seconds and
DRAINED_BYTES_MAX bytes.
"""

import asyncio
from http import HTTPStatus
from typing import Any, Final

from litestar.types import ASGIApp, Receive, Scope, Send

from greenroom.domain.limits import DRAINED_BYTES_MAX, Limits


class DrainBody:
    """ASGI middleware in front of an app that may refuse a request without having read its body."""

    def __init__(self, inner: ASGIApp, limits: Limits) -> None:
        self._inner: Final = inner
        self._wait_s: Final = limits.request_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = IncomingBody(scope, receive)

        async def send_after_body(message: Any) -> None:
            if message["type"] == "http.response.start" and message["status"] >= HTTPStatus.BAD_REQUEST:
                await body.drain(self._wait_s)
            await send(message)

        await self._inner(scope, body.receive, send_after_body)


class IncomingBody:
    """The body of one request, and whether all of it has been received."""

    def __init__(self, scope: Any, receive: Receive) -> None:
        names = {name for name, _ in scope["headers"]}
        self._receive: Final = receive
        # A client that sends Expect does not send its body before the server asks for it.
        self._has_ended = b"expect" in names or not names & {b"content-length", b"transfer-encoding"}

    async def receive(self) -> Any:
        message: Any = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body"):
            self._has_ended = True
        return message

    async def drain(self, wait_s: float) -> None:
        """Read and discard the rest of the body, for at most `wait_s` seconds and DRAINED_BYTES_MAX bytes."""
        bytes_left = DRAINED_BYTES_MAX
        try:
            async with asyncio.timeout(wait_s):
                while not self._has_ended and bytes_left > 0:
                    bytes_left -= len((await self.receive()).get("body", b""))
        except TimeoutError:
            return
