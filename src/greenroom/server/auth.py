"""Authenticates a request by the bearer token in its Authorization header."""

from typing import Final

from greenroom.domain.caller import Caller
from greenroom.domain.errors import Unauthorized
from greenroom.server.hosts import Headers
from greenroom.service.keys import Keys

BEARER: Final = b"bearer "
PUBLIC_PATHS: Final = frozenset({"/healthz", "/readyz", "/openapi.json"})


def caller_of(headers: Headers, keys: Keys) -> Caller:
    """Return the caller that the token in `headers` belongs to. Raises Unauthorized without a valid token."""
    told = [value for name, value in headers if name == b"authorization"]
    if not told:
        raise Unauthorized(
            "This request has no token.",
            "Send `Authorization: Bearer TOKEN`; the operator's token is in operator.token in the data directory.",
        )
    caller = None
    if len(told) == 1 and told[0][: len(BEARER)].lower() == BEARER:
        caller = keys.caller_of(told[0][len(BEARER) :].strip().decode("latin-1"))
    if caller is None:
        raise Unauthorized(
            "Unknown or expired token.",
            "Check that GREENROOM_URL and the token belong to the same server. An operator can make a new token: "
            "`greenroom agent token ROOM/ROLE` or `greenroom machine token MACHINE`.",
        )
    return caller
