"""Answers plain calls from the table of operations, without the framework.

It takes only requests that it answers exactly as the route of the same call would: the caller is known, and the body is
complete, valid JSON. Every other request is replayed into that route, which is the reference and answers it or says
what is wrong. A test sends every case through both.
"""

from collections.abc import Iterable
from typing import Any, Final

from litestar.types import ASGIApp, Receive, Scope, Send

from greenroom.domain.principal import Principal
from greenroom.server.answer import encode_error, encode_result, send_response
from greenroom.server.ask import RawRequest, Request
from greenroom.server.context import ServerContext
from greenroom.server.endpoints import Endpoint
from greenroom.server.hosts import AllowedHosts
from greenroom.server.plain import DECODING_ERRORS, PlainRequestCheck, ReplayedReceive
from greenroom.server.router import RouteMatch, Router


class CallFastPath:
    """ASGI middleware in front of the app, for calls that take a body and do not answer with a stream."""

    def __init__(
        self, inner: ASGIApp, server: ServerContext, hosts: AllowedHosts, operations: Iterable[Endpoint]
    ) -> None:
        self._inner: Final = inner
        self._server: Final = server
        self._plain: Final = PlainRequestCheck(hosts, server.service.tokens, server.service.limits.body_bytes_max)
        self._paths: Final = Router()
        for operation in operations:
            if operation.body is not None and not operation.streams:
                self._paths.add(operation)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._paths.find(scope)
        principal = self._plain.authenticate(scope) if found is not None else None
        if found is None or principal is None:
            await self._inner(scope, receive, send)
            return
        message: Any = await receive()
        request = self._read(found, principal, scope, message, receive)
        if request is None:
            await self._inner(scope, ReplayedReceive(message, receive), send)
            return
        operation, _ = found
        try:
            answer = encode_result(await operation.handle(self._server, request), operation.status)
        except Exception as error:
            answer = encode_error(error)
        await send_response(answer, send)

    def _read(
        self, found: RouteMatch, principal: Principal, scope: Scope, message: Any, receive: Receive
    ) -> Request[Any] | None:
        """Return the decoded call; None when the body is incomplete, or not what the call takes."""
        body = self._plain.complete_body(message)
        if body is None:
            return None
        operation, path = found
        raw_request = RawRequest(operation.method, scope["path"], scope["headers"], body, receive)
        try:
            return Request(principal, path, operation.decode_body(raw_request), operation.query(), raw_request)
        except DECODING_ERRORS:
            return None
