"""Handles `Idempotency-Key`: a repeated request is carried out once, and its stored answer is sent again."""

import hashlib
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

import msgspec

from greenroom.domain.errors import GreenroomError, Unusable
from greenroom.server.context import ServerContext
from greenroom.server.request import RawRequest, Request
from greenroom.server.response import JSON, HttpResponse, encode_result
from greenroom.service import idempotency
from greenroom.service.context import ServiceContext
from greenroom.store.transaction import Transaction
from greenroom.wire.problems import CONTENT_TYPE, encode_error

HEADER: Final = b"idempotency-key"
KEY_PATTERN: Final = re.compile(r"[\x21-\x7e]{1,255}")

Handler = Callable[[ServerContext, Request[Any]], Awaitable[object]]


def idempotent_post(mutation: Callable[[ServiceContext, Transaction, Request[Any]], object], status: int) -> Handler:
    """Return the handler of a call that creates or changes something; with a key, the mutation runs once.

    An error that the mutation raises rolls everything back and is not stored. An error that it returns is stored like
    any other answer.
    """

    async def answer(server: ServerContext, request: Request[Any]) -> object:
        key = parse_key(request.raw)
        if key is None:
            result = await server.write(lambda context, transaction: mutation(context, transaction, request))
            return encode_result(result, status)
        digest = hashlib.sha256(request.raw.body).hexdigest()
        route = f"{request.raw.method} {request.raw.path}"
        stored_status, body = await server.write(
            lambda context, transaction: idempotency.run_once(
                context,
                transaction,
                request.principal,
                route,
                key,
                digest,
                lambda: encode_stored(mutation(context, transaction, request), status),
            )
        )
        return HttpResponse(stored_status, body, JSON if stored_status < HTTPStatus.BAD_REQUEST else CONTENT_TYPE)

    return answer


def encode_stored(result: object, status: int) -> tuple[int, bytes]:
    """Encode an answer as it is stored: its status and body."""
    if isinstance(result, GreenroomError):
        problem = encode_error(result)
        return problem.status, msgspec.json.encode(problem)
    return status, msgspec.json.encode(result)


def parse_key(raw_request: RawRequest) -> str | None:
    """Return the request's key, or None. Raises Unusable for a malformed key."""
    key = raw_request.header(HEADER)
    if key is not None and not KEY_PATTERN.fullmatch(key):
        raise Unusable(
            "This Idempotency-Key is malformed.",
            "Send 1 to 255 visible ASCII characters, a new key for each new request.",
        )
    return key
