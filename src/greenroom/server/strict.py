"""Decodes bodies and queries exactly as a call declares them, and refuses everything else.

Litestar's own conversion is lenient: it accepts "5" for 5 and text/plain for JSON, and ignores unknown fields. A
heartbeat that is answered without Litestar must get the same answers.
"""

from typing import Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar.exceptions import HTTPException

from greenroom.domain.errors import Unusable

T = TypeVar("T")
Q = TypeVar("Q", bound=msgspec.Struct)

JSON: Final = b"application/json"
NOTHING: Final = b"{}"


def decode_json(body: bytes, kind: type[T]) -> T:
    """Decode a body; an empty one is decoded as `{}`. Raises errors that `problems.convert_error` converts."""
    return msgspec.json.decode(body or NOTHING, type=kind)


def decode_body(body: bytes, content_type: str | None, kind: type[T]) -> T:
    """Decode a request's body as `kind`. Raises HTTPException (415) for a body that is not sent as JSON."""
    if body and not is_json((content_type or "").encode("latin-1")):
        raise HTTPException(status_code=415, detail="The Content-Type of the body is not application/json.")
    return decode_json(body, kind)


def is_json(content_type: bytes) -> bool:
    """Return whether a Content-Type is JSON in UTF-8, its only encoding."""
    essence, _, parameters = content_type.lower().partition(b";")
    return essence.strip() == JSON and parameters.strip().replace(b'"', b"") in (b"", b"charset=utf-8")


def decode_query(query_string: bytes, kind: type[Q]) -> Q:
    """Decode a query as `kind`. Raises Unusable for an unknown, invalid or repeated parameter."""
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=16)
    except ValueError:
        raise Unusable("The query cannot be parsed.", "Send at most 16 parameters, percent-encoded in UTF-8.") from None
    parameters = dict(pairs)
    if len(parameters) < len(pairs):
        raise Unusable("A query parameter is repeated.", "Send each parameter once.")
    try:
        return msgspec.convert(parameters, type=kind, strict=False)
    except msgspec.ValidationError as error:
        known_names = ", ".join(field.encode_name for field in msgspec.structs.fields(kind)) or "none"
        message = str(error).replace("Object contains unknown field", "Unknown query parameter")
        raise Unusable(f"{message.replace('$.', '')}.", f"Query parameters of this call: {known_names}.") from None
