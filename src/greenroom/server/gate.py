"""ASGI middleware in front of every route: checks the Host and Origin, and authenticates the caller."""

from typing import Final

from litestar.types import ASGIApp, Receive, Scope, Send

from greenroom.server.answer import encode_error, send_response
from greenroom.server.auth import PUBLIC_PATHS, authenticate
from greenroom.server.hosts import AllowedHosts
from greenroom.service.state.tokens import TokenSigner


class AuthMiddleware:
    """Passes on requests with an allowed Host and a valid token, and stores their Caller in `scope["auth"]`.

    Requests for PUBLIC_PATHS need no token. Every other request is answered with a problem document.
    """

    def __init__(self, inner: ASGIApp, hosts: AllowedHosts, signer: TokenSigner) -> None:
        self._inner: Final = inner
        self._hosts: Final = hosts
        self._signer: Final = signer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._hosts.check(scope["headers"])
            if scope["path"] not in PUBLIC_PATHS:
                scope["auth"] = authenticate(scope["headers"], self._signer)
        except Exception as error:  # Litestar's exception handler is not in reach here.
            await send_response(encode_error(error), send)
        else:
            await self._inner(scope, receive, send)
