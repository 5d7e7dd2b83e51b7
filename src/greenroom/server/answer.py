"""How an answer is spelled and sent. Must not know who asked for what."""

from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec
from litestar.types import Send

from greenroom.server import problems
from greenroom.wire.problems import CONTENT_TYPE

JSON: Final = "application/json"


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes
    media_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


def spelled(result: object, status: int) -> Answer:
    """Spell what came of a call: an answer as it is, nothing as 204, everything else as JSON."""
    if isinstance(result, Answer):
        return result
    if result is None:
        return Answer(HTTPStatus.NO_CONTENT, b"")
    return Answer(status, msgspec.json.encode(result))


def refusal(error: Exception) -> Answer:
    """Spell what went wrong."""
    told = problems.of(error)
    return Answer(told.status, msgspec.json.encode(told), CONTENT_TYPE, tuple(problems.headers_of(told).items()))


async def send_answer(answer: Answer, send: Send) -> None:
    """Send an answer where there is no framework to do it."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    if answer.status != HTTPStatus.NO_CONTENT:
        headers += [(b"content-type", answer.media_type.encode()), (b"content-length", b"%d" % len(answer.body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})
