"""Reads the headers of a request."""

from collections import Counter
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from greenroom.server.response import HttpError

RequestHeaders = Mapping[bytes, bytes]
"""Names in lower case, and values as they were received."""

SINGLE_HEADERS: Final = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"idempotency-key",
        b"last-event-id",
        b"origin",
        b"transfer-encoding",
    }
)
"""Headers whose repetition would leave open which value counts."""


def read_headers(pairs: Sequence[tuple[bytes, bytes]]) -> RequestHeaders:
    """Read the headers of an ASGI scope; repeated ones are joined to a list.

    Raises HttpError (400) for a repeated header of SINGLE_HEADERS.
    """
    headers = dict(pairs)
    if len(headers) == len(pairs):
        return headers
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            if name in SINGLE_HEADERS:
                raise HttpError(HTTPStatus.BAD_REQUEST, f"The header {name.decode('latin-1')} is repeated.")
            headers[name] = b", ".join(value for header, value in pairs if header == name)
    return headers
