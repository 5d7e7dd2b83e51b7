"""Answers plain calls from the table of operations, without the framework.

It takes only requests that it answers exactly as the route of the same call would: the caller is known, and the body is
complete, valid JSON. Every other request is replayed into that route, which is the reference and answers it or says
what is wrong. A test sends every case through both.
"""

from collections.abc import Iterable
from typing import Any, Final

from litestar.types import ASGIApp, Receive, Scope, Send

from greenroom.domain.caller import Caller
from greenroom.server.answer import refusal, send_answer, spelled
from greenroom.server.ask import Ask, Sent
from greenroom.server.doors import Doors
from greenroom.server.hosts import Hosts
from greenroom.server.junction import Found, Junction
from greenroom.server.operations import Operation
from greenroom.server.plain import UNREADABLE, Plain, Replay


class Express:
    """ASGI middleware in front of the app, for calls that take a body and do not answer with a stream."""

    def __init__(self, inner: ASGIApp, server: Doors, hosts: Hosts, operations: Iterable[Operation]) -> None:
        self._inner: Final = inner
        self._server: Final = server
        self._plain: Final = Plain(hosts, server.world.keys, server.world.limits.body_bytes_max)
        self._paths: Final = Junction()
        for operation in operations:
            if operation.body is not None and not operation.streams:
                self._paths.lay(operation)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._paths.find(scope)
        principal = self._plain.caller_of(scope) if found is not None else None
        if found is None or principal is None:
            await self._inner(scope, receive, send)
            return
        message: Any = await receive()
        request = self._read(found, principal, scope, message, receive)
        if request is None:
            await self._inner(scope, Replay(message, receive), send)
            return
        operation, _ = found
        try:
            answer = spelled(await operation.answer(self._server, request), operation.status)
        except Exception as error:
            answer = refusal(error)
        await send_answer(answer, send)

    def _read(self, found: Found, principal: Caller, scope: Scope, message: Any, receive: Receive) -> Ask[Any] | None:
        """Return the decoded call; None when the body is incomplete, or not what the call takes."""
        body = self._plain.body_of(message)
        if body is None:
            return None
        operation, path = found
        raw_request = Sent(operation.method, scope["path"], scope["headers"], body, receive)
        try:
            return Ask(principal, path, operation.read(raw_request), operation.query(), raw_request)
        except UNREADABLE:
            return None
