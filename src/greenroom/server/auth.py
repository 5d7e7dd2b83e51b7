"""Authenticates a request by its bearer token."""

from typing import Final

from greenroom.domain.errors import Unauthorized
from greenroom.domain.principal import Principal
from greenroom.server.request_headers import RequestHeaders
from greenroom.service.state.tokens import TokenSigner

BEARER: Final = b"bearer "
PUBLIC_PATHS: Final = frozenset({"/healthz", "/readyz", "/openapi.json"})


def authenticate(headers: RequestHeaders, signer: TokenSigner) -> Principal:
    """Return the caller that the token in `headers` belongs to. Raises Unauthorized without a valid token."""
    credentials = headers.get(b"authorization")
    if credentials is None:
        raise Unauthorized(
            "This request has no token.",
            "Send `Authorization: Bearer TOKEN`; the operator's token is in operator.token in the data directory.",
        )
    principal = None
    if credentials[: len(BEARER)].lower() == BEARER:
        principal = signer.verify(credentials[len(BEARER) :].strip().decode("latin-1"))
    if principal is None:
        raise Unauthorized(
            "Unknown or expired token.",
            "Check that GREENROOM_URL and the token belong to the same server. An operator can make a new token: "
            "`greenroom agent token ROOM/ROLE` or `greenroom machine token MACHINE`.",
        )
    return principal
