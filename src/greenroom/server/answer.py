"""Encodes the result of a call, or its error, as an HTTP response, and sends it."""

from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec
from litestar.types import Send

from greenroom.server import problems
from greenroom.wire.problems import CONTENT_TYPE

JSON: Final = "application/json"


class EncodedResponse(NamedTuple):
    """A complete HTTP response."""

    status: int
    body: bytes
    media_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


def encode_result(result: object, status: int) -> EncodedResponse:
    """Encode the result of a call: a response stays as it is, None becomes 204, anything else JSON with `status`."""
    if isinstance(result, EncodedResponse):
        return result
    if result is None:
        return EncodedResponse(HTTPStatus.NO_CONTENT, b"")
    return EncodedResponse(status, msgspec.json.encode(result))


def encode_error(error: Exception) -> EncodedResponse:
    """Encode an error as a problem document, with the status and headers that belong to it."""
    problem = problems.convert_error(error)
    headers = tuple(problems.problem_headers(problem).items())
    return EncodedResponse(problem.status, msgspec.json.encode(problem), CONTENT_TYPE, headers)


async def send_response(answer: EncodedResponse, send: Send) -> None:
    """Send a response over ASGI, where no framework does it."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    if answer.status != HTTPStatus.NO_CONTENT:
        headers += [(b"content-type", answer.media_type.encode()), (b"content-length", b"%d" % len(answer.body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})
