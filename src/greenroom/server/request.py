"""A request: as ASGI delivers it, as handlers get it, and the decoding between the two.

Body and query are decoded exactly as a call declares them, and everything else is refused: no conversion of "5" to 5,
no text/plain for JSON, no unknown field or parameter.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Annotated, Any, Final, Generic, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

from greenroom.domain.errors import Unusable
from greenroom.domain.limits import Limits
from greenroom.domain.principal import Principal
from greenroom.domain.task import STATES
from greenroom.server.request_headers import RequestHeaders
from greenroom.server.response import HttpError
from greenroom.wire.requests import INTEGER_MAX, Seconds

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

Body = TypeVar("Body")
T = TypeVar("T")
Q = TypeVar("Q", bound=msgspec.Struct)

JSON: Final = b"application/json"
NOTHING: Final = b"{}"


Cursor = Annotated[str, Meta(description="The `cursor` of the last event that the client has; only this list's.")]
Newest = Annotated[int, Meta(ge=0, le=INTEGER_MAX, description="Begin with so many of the newest events.")]
Version = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
Limit = Annotated[int, Meta(ge=1, le=1000)]
Id = Annotated[str, Meta(min_length=1, max_length=128)]
TaskStatus = Literal[STATES]  # type: ignore[valid-type]


class NoQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call without query parameters."""


class EventsQuery(NoQuery, frozen=True):
    """`after` is the cursor of the last event that the client has; `newest` begins so many events before the end.

    Without both, the answer begins at the start.
    """

    after: Cursor | None = None
    newest: Newest | None = None
    limit: Limit | None = None


class ListQuery(NoQuery, frozen=True):
    """`after` is the id of the last item of the previous page."""

    after: Id | None = None
    limit: Limit | None = None


class TasksQuery(ListQuery, frozen=True):
    status: TaskStatus | None = None


class AssignmentsQuery(NoQuery, frozen=True):
    """`after` is the version that the client has; the answer waits up to `wait_s` seconds for another version."""

    after: Version | None = None
    wait_s: Seconds = 0.0


class RawRequest(msgspec.Struct, frozen=True):
    """A raw request. Its body was read completely, so `receive` reports only that the client disconnected."""

    method: str
    path: str
    headers: RequestHeaders
    body: bytes
    receive: Receive

    def header(self, name: bytes) -> str | None:
        """Return a header by its lower-case name: the first if it is repeated, None if it is missing."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


class Request(msgspec.Struct, Generic[Body], frozen=True):
    """One call. `query` has the query type of its operation; `raw` is the raw request behind `body`."""

    principal: Principal
    path: Mapping[str, str]
    body: Body
    query: Any
    raw: RawRequest

    @property
    def room(self) -> str:
        return self.path["room"]

    @property
    def role(self) -> str:
        return self.path["role"]

    @property
    def task(self) -> str:
        return self.path["task"]

    @property
    def machine(self) -> str:
        return self.path["machine"]

    def page_size(self, limits: Limits) -> int:
        """Return the page size: the query's `limit`, up to `page_max`, or `page_default` without one."""
        requested: int | None = self.query.limit
        return limits.page_default if requested is None else min(requested, limits.page_max)


def decode_body(raw: RawRequest, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode a request's body; an empty one is decoded as `{}`. Raises HttpError (415) for one that is not JSON.

    Raises errors that `response.encode_failure` converts, for what the decoder does not accept.
    """
    if not raw.body:
        return decoder.decode(NOTHING)
    if not is_json(raw.headers.get(b"content-type")):
        raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The Content-Type of the body is not application/json.")
    return decoder.decode(raw.body)


def is_json(content_type: bytes | None) -> bool:
    """Return whether a Content-Type is JSON in UTF-8, its only encoding."""
    if content_type == JSON:
        return True
    if content_type is None:
        return False
    essence, _, parameters = content_type.lower().partition(b";")
    return essence.strip() == JSON and parameters.strip().replace(b'"', b"") in (b"", b"charset=utf-8")


def decode_query(query_string: bytes, kind: type[Q]) -> Q:
    """Decode a query as `kind`. Raises Unusable for an unknown, invalid or repeated parameter."""
    if not query_string:
        return kind()
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
