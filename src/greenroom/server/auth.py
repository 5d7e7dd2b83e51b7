"""Knows how a request says whom it speaks for. Must not know what is asked, or what the caller may do."""

from typing import Final

from greenroom.domain.caller import Caller
from greenroom.domain.errors import Unauthorized
from greenroom.server.hosts import Headers
from greenroom.service.keys import Keys

BEARER: Final = b"bearer "
PUBLIC_PATHS: Final = frozenset({"/healthz", "/readyz", "/openapi.json"})


def caller_of(headers: Headers, keys: Keys) -> Caller:
    """Find out whom the request's token speaks for; raise Unauthorized when there is none or it is not known."""
    told = [value for name, value in headers if name == b"authorization"]
    if not told:
        raise Unauthorized(
            "This request carries no token.",
            "Send it as `Authorization: Bearer TOKEN`; an operator's lies in the data directory as operator.token.",
        )
    caller = None
    if len(told) == 1 and told[0][: len(BEARER)].lower() == BEARER:
        caller = keys.caller_of(told[0][len(BEARER) :].strip().decode("latin-1"))
    if caller is None:
        raise Unauthorized(
            "This token is not known here, or its time is over.",
            "Check that GREENROOM_URL and the token belong to the same server; an operator can make a new token.",
        )
    return caller
