"""The gate in front of every route: by which name, and on whose behalf. Must not know what lies behind it."""

from typing import Final

from litestar.types import ASGIApp, Receive, Scope, Send

from greenroom.server.answer import refusal, send_answer
from greenroom.server.auth import PUBLIC_PATHS, caller_of
from greenroom.server.hosts import Hosts
from greenroom.service.keys import Keys


class Gate:
    """Lets through what carries a good Host and a known token, and says in `scope["auth"]` whom it speaks for."""

    def __init__(self, inner: ASGIApp, hosts: Hosts, keys: Keys) -> None:
        self._inner: Final = inner
        self._hosts: Final = hosts
        self._keys: Final = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._hosts.check(scope["headers"])
            if scope["path"] not in PUBLIC_PATHS:
                scope["auth"] = caller_of(scope["headers"], self._keys)
        except Exception as error:  # Litestar, which would answer for it, has not been reached.
            await send_answer(refusal(error), send)
        else:
            await self._inner(scope, receive, send)
