"""Answers plain calls straight from the table of operations, before any framework. Must not know any single call.

It takes only what it can answer exactly as the route of the same call would: the body is whole and good JSON, and the
caller is known. Whatever is odd in the least is replayed into that route, which is the reference and has the words for
it. A test sends every case to both.
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
    """In front of the app, for calls that carry a body and answer once."""

    def __init__(self, inner: ASGIApp, doors: Doors, hosts: Hosts, operations: Iterable[Operation]) -> None:
        self._inner: Final = inner
        self._doors: Final = doors
        self._plain: Final = Plain(hosts, doors.world.keys, doors.world.limits.body_bytes_max)
        self._paths: Final = Junction()
        for operation in operations:
            if operation.body is not None and not operation.streams:
                self._paths.lay(operation)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._paths.find(scope)
        caller = self._plain.caller_of(scope) if found is not None else None
        if found is None or caller is None:
            await self._inner(scope, receive, send)
            return
        message: Any = await receive()
        ask = self._read(found, caller, scope, message, receive)
        if ask is None:
            await self._inner(scope, Replay(message, receive), send)
            return
        operation, _ = found
        try:
            answer = spelled(await operation.answer(self._doors, ask), operation.status)
        except Exception as error:
            answer = refusal(error)
        await send_answer(answer, send)

    def _read(self, found: Found, caller: Caller, scope: Scope, message: Any, receive: Receive) -> Ask[Any] | None:
        """What is asked; None when the body did not come whole, or is not what the call takes."""
        body = self._plain.body_of(message)
        if body is None:
            return None
        operation, path = found
        sent = Sent(operation.method, scope["path"], scope["headers"], body, receive)
        try:
            return Ask(caller, path, operation.read(sent), operation.query(), sent)
        except UNREADABLE:
            return None
