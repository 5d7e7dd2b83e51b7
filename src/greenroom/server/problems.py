"""Turns whatever went wrong into one problem document. Knows HTTP's statuses; must not know who asked for what."""

import logging
import re
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from greenroom.domain.errors import GreenroomError
from greenroom.wire.problems import CONTENT_TYPE, Problem, problem, problem_of

logger = logging.getLogger("greenroom.server")

RETRY_AFTER_S: Final = "1"
AT_PATH: Final = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>.+)`)?$", re.DOTALL)

CODE_OF_STATUS: Final = {
    400: ("invalid_request", "Correct the request and send it again; /openapi.json describes every call."),
    404: ("not_found", "Look the path up in /openapi.json."),
    405: ("method_not_allowed", "Use one of the methods in the Allow header; /openapi.json describes every call."),
    413: ("too_large", "Send less at once; a text may have 1 MiB."),
    415: ("unsupported_media_type", "Send the body as JSON with `Content-Type: application/json`."),
}


def of(error: Exception) -> Problem:
    """Spell any error. What nobody foresaw is logged with its traceback, and the caller is told none of it."""
    if isinstance(error, GreenroomError):
        return problem_of(error)
    if isinstance(error, msgspec.ValidationError):
        return invalid(str(error))
    if isinstance(error, msgspec.MsgspecError | UnicodeDecodeError):
        return problem("invalid_request", f"The body is not JSON: {error}.", "Send one JSON object in UTF-8.")
    if isinstance(error, RecursionError):
        return problem("invalid_request", "The body is nested too deeply.", "Send one flat JSON object.")
    if isinstance(error, HTTPException) and error.status_code in CODE_OF_STATUS:
        code, guidance = CODE_OF_STATUS[error.status_code]
        return problem(code, f"{error.detail.rstrip('.')}.", guidance)
    logger.error("a request failed in a way that nobody foresaw", exc_info=error)
    return problem(
        "internal",
        "The server failed in a way that nobody foresaw.",
        "Look at the server's log. Whether anything was done is not certain: read the state before you try again.",
    )


def invalid(complaint: str) -> Problem:
    """Spell what a decoder complained about; it names the first fault and where that is."""
    found = AT_PATH.match(complaint)
    assert found is not None
    where = f"Correct `{found['path']}`" if found["path"] else "Correct the fields"
    return problem("invalid_request", f"{found['what']}.", f"{where} and send it again; /openapi.json has every field.")


def headers_of(told: Problem) -> dict[str, str]:
    """The headers that belong to a problem."""
    if told.status == 401:
        return {"www-authenticate": 'Bearer realm="greenroom"'}
    if told.status == 503:
        return {"retry-after": RETRY_AFTER_S}
    return {}


def answer(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer a request that failed inside a route, or that found none."""
    told = of(error)
    headers = headers_of(told)
    if isinstance(error, HTTPException) and error.headers:
        headers |= {name.lower(): value for name, value in error.headers.items()}
    return Response(msgspec.json.encode(told), status_code=told.status, media_type=CONTENT_TYPE, headers=headers)
