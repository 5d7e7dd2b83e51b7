"""Hears a client out before it is refused. Knows bodies in transit; must not know what is in them, or why.

Who closes a connection on which more is still coming resets it, and the client, busy with sending, never reads why it
was refused. So the rest of a body is taken in and thrown away before an error is answered, within limits.
"""

import asyncio
from http import HTTPStatus
from typing import Any, Final

from litestar.types import ASGIApp, Receive, Scope, Send

from greenroom.domain.reliability import UNREAD_BYTES_MAX, Reliability


class HearOut:
    """In front of whatever may refuse a request without having read its body."""

    def __init__(self, inner: ASGIApp, limits: Reliability) -> None:
        self._inner: Final = inner
        self._wait_s: Final = limits.request_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = Body(scope, receive)

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start" and message["status"] >= HTTPStatus.BAD_REQUEST:
                await body.finish(self._wait_s)
            await send(message)

        await self._inner(scope, body.receive, answer)


class Body:
    """A request's body, as far as it has come."""

    def __init__(self, scope: Any, receive: Receive) -> None:
        names = {name for name, _ in scope["headers"]}
        self._receive: Final = receive
        # Who asks first whether it may send (Expect) sends nothing unless it is told to.
        self._is_over = b"expect" in names or not names & {b"content-length", b"transfer-encoding"}

    async def receive(self) -> Any:
        message: Any = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body"):
            self._is_over = True
        return message

    async def finish(self, wait_s: float) -> None:
        """Take in what is still coming: for at most `wait_s` seconds, and no more than a client may well send."""
        left = UNREAD_BYTES_MAX
        try:
            async with asyncio.timeout(wait_s):
                while not self._is_over and left > 0:
                    left -= len((await self.receive()).get("body", b""))
        except TimeoutError:
            return
