"""Encodes errors as problem documents (RFC 9457), and decodes them. Holds the HTTP status of each code."""

from typing import Any

import msgspec

from greenroom.domain import errors

CONTENT_TYPE = "application/problem+json"

STATUS_OF_CODE = {
    "invalid_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "host_refused": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "timeout": 408,
    "conflict": 409,
    "room_closed": 409,
    "invalid_transition": 409,
    "superseded": 409,
    "not_kept": 409,
    "rejoin_required": 409,
    "too_large": 413,
    "unsupported_media_type": 415,
    "idempotency_mismatch": 422,
    "head_too_large": 431,
    "internal": 500,
    "unavailable": 503,
    "store_unavailable": 503,
    "overloaded": 503,
}

ERROR_OF_CODE: dict[str, type[errors.GreenroomError]] = {
    "not_found": errors.NotFound,
    "unauthorized": errors.Unauthorized,
    "forbidden": errors.Refused,
    "host_refused": errors.Refused,
    "superseded": errors.Superseded,
    "not_kept": errors.NotKept,
    "rejoin_required": errors.RejoinRequired,
    "store_unavailable": errors.StoreUnavailable,
    "overloaded": errors.StoreOverloaded,
}


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One error response: `code` for programs, `detail` for what is wrong, `guidance` for what to do next.

    `current`, `attempted` and `allowed` are set when the state machine has no such move.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str
    guidance: str
    current: str | None = None
    attempted: str | None = None
    allowed: tuple[str, ...] | None = None


def encode_error(error: errors.GreenroomError) -> Problem:
    """Return the problem document of an error."""
    extra: dict[str, Any] = {}
    if isinstance(error, errors.InvalidTransition):
        extra = {"current": error.current, "attempted": error.attempted, "allowed": error.allowed}
    return make_problem(error.code, error.detail, error.guidance, **extra)


def make_problem(code: str, detail: str, guidance: str, **extra: Any) -> Problem:
    """Return the problem document of a code. Raises KeyError for a code without a status."""
    return Problem(
        type=f"urn:greenroom:problem:{code}",
        title=code.replace("_", " "),
        status=STATUS_OF_CODE[code],
        code=code,
        detail=detail,
        guidance=guidance,
        **extra,
    )


def decode_error(status: int, body: bytes) -> errors.GreenroomError:
    """Return the error that a response carries, of the class that the server raised.

    A body that is no problem document becomes Unavailable from status 500 on, else Unusable.
    """
    try:
        document = msgspec.json.decode(body, type=Problem)
    except msgspec.MsgspecError:
        fallback = errors.Unavailable if status >= 500 else errors.Unusable
        return fallback(
            f"The server answered {status} without a reason.", "Check that GREENROOM_URL names a Greenroom server."
        )
    if document.code == "invalid_transition" and document.current is not None:
        return errors.InvalidTransition("task", document.current, document.attempted or "", document.allowed or ())
    error_class = ERROR_OF_CODE.get(document.code)
    if error_class is None:
        error_class = errors.Conflict if status == 409 else errors.Unavailable if status >= 500 else errors.Unusable
    return error_class(document.detail, document.guidance, document.code)
