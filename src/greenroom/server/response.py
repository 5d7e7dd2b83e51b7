"""A response: the result of a call or its error, encoded, and sent over ASGI.

Errors are problem documents (RFC 9457).
"""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec

from greenroom.domain.errors import GreenroomError
from greenroom.wire.problems import CONTENT_TYPE, Problem, encode_error, make_problem

logger = logging.getLogger("greenroom.server.response")

JSON: Final = "application/json"
ENCODE: Final = msgspec.json.Encoder().encode
NO_CONTENT: Final = int(HTTPStatus.NO_CONTENT)
RETRY_AFTER_S: Final = "1"
VALIDATION_MESSAGE: Final = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>.+)`)?$", re.DOTALL)

CODE_OF_STATUS: Final = {
    400: ("invalid_request", "Correct the request and send it again; /openapi.json describes every call."),
    404: ("not_found", "Look the path up in /openapi.json."),
    405: ("method_not_allowed", "Use one of the methods in the Allow header; /openapi.json describes every call."),
    408: ("timeout", "Send the whole request at once, on a new connection."),
    413: ("too_large", "Send a smaller body; a text may have at most 1 MiB."),
    415: ("unsupported_media_type", "Send the body as JSON with `Content-Type: application/json`."),
    431: ("head_too_large", "Send fewer and shorter headers; a long text belongs into the body."),
}


class HttpError(Exception):
    """A request that is wrong as HTTP: its path, method, size or type. `status` is a key of CODE_OF_STATUS."""

    def __init__(self, status: int, detail: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


class HttpResponse(NamedTuple):
    """A complete HTTP response."""

    status: int
    body: bytes
    media_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()

    async def send(self, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        status, body, media_type, extra_headers = self
        headers = encode_headers(extra_headers) if extra_headers else []
        if status != NO_CONTENT:
            headers += ((b"content-type", media_type.encode()), (b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Stream(NamedTuple):
    """A response that is sent frame by frame, until the frames end or the client disconnects."""

    frames: AsyncGenerator[bytes, None]
    media_type: str
    headers: tuple[tuple[str, str], ...] = ()
    status: int = HTTPStatus.OK

    async def send(self, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        headers = [*encode_headers(self.headers), (b"content-type", self.media_type.encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        sending = asyncio.ensure_future(self._send_frames(send))
        disconnect = asyncio.ensure_future(wait_for_disconnect(receive))
        try:
            await asyncio.wait((sending, disconnect), return_when=asyncio.FIRST_COMPLETED)
        finally:
            disconnect.cancel()
            sending.cancel()
            await asyncio.wait((sending, disconnect))
        if not sending.cancelled():
            sending.result()

    async def _send_frames(self, send: Callable[[Any], Awaitable[None]]) -> None:
        async with aclosing(self.frames) as frames:
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def wait_for_disconnect(receive: Callable[[], Awaitable[Any]]) -> None:
    """Wait until the client closes the connection. The request's body must have been read, or be of no interest."""
    while (await receive())["type"] != "http.disconnect":
        pass


def encode_headers(headers: tuple[tuple[str, str], ...]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def encode_result(result: object, status: int) -> HttpResponse | Stream:
    """Encode the result of a call: a response stays as it is, None becomes 204, anything else JSON with `status`."""
    if result is None:
        return HttpResponse(HTTPStatus.NO_CONTENT, b"")
    if isinstance(result, (HttpResponse, Stream)):
        return result
    return HttpResponse(status, ENCODE(result))


def encode_failure(error: Exception) -> HttpResponse:
    """Encode an error as a problem document, with the status and headers that belong to it."""
    problem = convert_error(error)
    headers = problem_headers(problem) + (error.headers if isinstance(error, HttpError) else ())
    return HttpResponse(problem.status, msgspec.json.encode(problem), CONTENT_TYPE, headers)


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
    if isinstance(error, HttpError):
        code, guidance = CODE_OF_STATUS[error.status]
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


def problem_headers(document: Problem) -> tuple[tuple[str, str], ...]:
    """Return the headers that belong to a problem: WWW-Authenticate for 401, Retry-After for 503."""
    if document.status == 401:
        return (("www-authenticate", 'Bearer realm="greenroom"'),)
    if document.status == 503:
        return (("retry-after", RETRY_AFTER_S),)
    return ()
