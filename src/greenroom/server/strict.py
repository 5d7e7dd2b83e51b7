"""Takes requests literally: body and query are what a call declares, or they are refused. Must not know the calls.

Litestar's own conversion is lax (it takes "5" for 5, text/plain for JSON and ignores what it does not know), and a beat
that is answered without it must get the same answers.
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


def decode(body: bytes, kind: type[T]) -> T:
    """Read a body; nothing at all is read as an empty object. Raises what `problems.of` can spell."""
    return msgspec.json.decode(body or NOTHING, type=kind)


def read_body(body: bytes, content_type: str | None, kind: type[T]) -> T:
    """Read a request's body as one `kind`, which has to come as JSON."""
    if body and not is_json((content_type or "").encode("latin-1")):
        raise HTTPException(status_code=415, detail="The body does not come as application/json.")
    return decode(body, kind)


def is_json(content_type: bytes) -> bool:
    """Tell whether a Content-Type is JSON's, in the only encoding that it has."""
    essence, _, parameters = content_type.lower().partition(b";")
    return essence.strip() == JSON and parameters.strip().replace(b'"', b"") in (b"", b"charset=utf-8")


def read_query(query_string: bytes, kind: type[Q]) -> Q:
    """Read the request's query as one `kind`; each parameter may be there once and must be known."""
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=16)
    except ValueError:
        raise Unusable("The query cannot be read.", "Send at most 16 parameters, percent-encoded in UTF-8.") from None
    told = dict(pairs)
    if len(told) < len(pairs):
        raise Unusable("A query parameter is there twice.", "Send each parameter once.")
    try:
        return msgspec.convert(told, type=kind, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(kind)) or "none"
        complaint = str(error).replace("Object contains unknown field", "There is no query parameter")
        raise Unusable(f"{complaint.replace('$.', '')}.", f"Query parameters of this call: {known}.") from None
