"""ASGI middleware in front of every route: checks the Host and Origin, and authenticates the caller."""

from typing import Final

from litestar.types import ASGIApp, Receive, Scope, Send

from greenroom.server.answer import refusal, send_answer
from greenroom.server.auth import PUBLIC_PATHS, caller_of
from greenroom.server.hosts import Hosts
from greenroom.service.keys import Keys


class Gate:
    """Passes on requests with an allowed Host and a valid token, and stores their Caller in `scope["auth"]`.

    Requests for PUBLIC_PATHS need no token. Every other request is answered with a problem document.
    """

    def __init__(self, inner: ASGIApp, hosts: Hosts, signer: Keys) -> None:
        self._inner: Final = inner
        self._hosts: Final = hosts
        self._signer: Final = signer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._hosts.check(scope["headers"])
            if scope["path"] not in PUBLIC_PATHS:
                scope["auth"] = caller_of(scope["headers"], self._signer)
        except Exception as error:  # Litestar's exception handler is not in reach here.
            await send_answer(refusal(error), send)
        else:
            await self._inner(scope, receive, send)
