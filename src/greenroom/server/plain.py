"""Recognises plain requests, which can be answered without the framework.

A plain request has one allowed Host, one bearer token, the content type application/json, no Origin, no Expect, no
query, and a body that comes whole. Every other request goes to the framework, which answers it or says what is wrong.
"""

from typing import Any, Final

import msgspec
from litestar.types import HTTPReceiveMessage, Receive

from greenroom.domain.errors import GreenroomError
from greenroom.domain.principal import Principal
from greenroom.server.hosts import AllowedHosts
from greenroom.service.state.tokens import TokenSigner

BEARER: Final = b"Bearer "
JSON: Final = b"application/json"
DECODING_ERRORS: Final = (GreenroomError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding a body raises when the request is not plain."""
CHECKED_HEADERS: Final = frozenset({b"host", b"origin", b"authorization", b"content-type", b"expect"})


class PlainRequestCheck:
    """Checks whether requests are plain."""

    def __init__(self, hosts: AllowedHosts, signer: TokenSigner, body_bytes_max: int) -> None:
        self._host_names: Final = hosts.names
        self._signer: Final = signer
        self._body_bytes_max: Final = body_bytes_max

    def authenticate(self, scope: Any) -> Principal | None:
        """Return the caller of a plain request; None for any other request, and for an unknown token."""
        relevant = [header for header in scope["headers"] if header[0] in CHECKED_HEADERS]
        headers = dict(relevant)
        token = headers.get(b"authorization", b"")
        if (
            len(relevant) != 3  # One of the three is missing or repeated, or there is an Origin, or an Expect.
            or headers.get(b"host") not in self._host_names
            or headers.get(b"content-type") != JSON
            or not token.startswith(BEARER)
            or scope["query_string"]
        ):
            return None
        return self._signer.verify(token[len(BEARER) :].decode("latin-1"))

    def complete_body(self, message: Any) -> bytes | None:
        """Return the body if the request's first message has all of it, within the size limit; else None."""
        if message["type"] != "http.request" or message.get("more_body"):
            return None
        body: bytes = message["body"]
        return body if len(body) <= self._body_bytes_max else None


class ReplayedReceive:
    """An ASGI `receive` that returns a request's first message again, and then the messages that follow."""

    def __init__(self, first: HTTPReceiveMessage, receive: Receive) -> None:
        self._first: HTTPReceiveMessage | None = first
        self._receive = receive

    async def __call__(self) -> Any:
        first, self._first = self._first, None
        return first if first is not None else await self._receive()
