"""Converts any error into a problem document (RFC 9457) and its HTTP headers."""

import logging
import re
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from greenroom.domain.errors import GreenroomError
from greenroom.wire.problems import CONTENT_TYPE, Problem, encode_error, make_problem

logger = logging.getLogger("greenroom.server.problems")

RETRY_AFTER_S: Final = "1"
VALIDATION_MESSAGE: Final = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>.+)`)?$", re.DOTALL)

CODE_OF_STATUS: Final = {
    400: ("invalid_request", "Correct the request and send it again; /openapi.json describes every call."),
    404: ("not_found", "Look the path up in /openapi.json."),
    405: ("method_not_allowed", "Use one of the methods in the Allow header; /openapi.json describes every call."),
    413: ("too_large", "Send a smaller body; a text may have at most 1 MiB."),
    415: ("unsupported_media_type", "Send the body as JSON with `Content-Type: application/json`."),
}


def convert_error(error: Exception) -> Problem:
    """Convert any error. An unexpected one is logged with its traceback, and nothing of it is sent to the client."""
    if isinstance(error, GreenroomError):
        return encode_error(error)
    if isinstance(error, msgspec.ValidationError):
        return convert_validation_error(str(error))
    if isinstance(error, msgspec.MsgspecError | UnicodeDecodeError):
        return make_problem("invalid_request", f"The body is not JSON: {error}.", "Send one JSON object in UTF-8.")
    if isinstance(error, RecursionError):
        return make_problem("invalid_request", "The body is nested too deeply.", "Send one flat JSON object.")
    if isinstance(error, HTTPException) and error.status_code in CODE_OF_STATUS:
        code, guidance = CODE_OF_STATUS[error.status_code]
        return make_problem(code, f"{error.detail.rstrip('.')}.", guidance)
    logger.error("request failed: unexpected error", exc_info=error)
    return make_problem(
        "internal",
        "The server failed with an unexpected error.",
        "See the server's log. Whether anything was done is not certain: read the current state before you retry.",
    )


def convert_validation_error(message: str) -> Problem:
    """Convert a decoder's message, which names the first fault and its path."""
    match = VALIDATION_MESSAGE.match(message)
    assert match is not None
    where = f"Correct `{match['path']}`" if match["path"] else "Correct the fields"
    return make_problem(
        "invalid_request", f"{match['what']}.", f"{where} and send it again; /openapi.json has all fields."
    )


def problem_headers(document: Problem) -> dict[str, str]:
    """Return the headers that belong to a problem: WWW-Authenticate for 401, Retry-After for 503."""
    if document.status == 401:
        return {"www-authenticate": 'Bearer realm="greenroom"'}
    if document.status == 503:
        return {"retry-after": RETRY_AFTER_S}
    return {}


def handle_exception(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Litestar's exception handler: answer a request that failed in a route, or for which there is no route."""
    document = convert_error(error)
    headers = problem_headers(document)
    if isinstance(error, HTTPException) and error.headers:
        headers |= {name.lower(): value for name, value in error.headers.items()}
    body = msgspec.json.encode(document)
    return Response(body, status_code=document.status, media_type=CONTENT_TYPE, headers=headers)
