"""Handles `Idempotency-Key`: a repeated request is carried out once, and its stored answer is sent again."""

import hashlib
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

import msgspec

from greenroom.domain.errors import GreenroomError, Unusable
from greenroom.server.answer import JSON, Answer, spelled
from greenroom.server.ask import Ask, Sent
from greenroom.server.doors import Doors
from greenroom.service import idempotency
from greenroom.service.world import World
from greenroom.store.transaction import Transaction
from greenroom.wire.problems import CONTENT_TYPE, problem_of

HEADER: Final = b"idempotency-key"
KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")

Answering = Callable[[Doors, Ask[Any]], Awaitable[object]]


def move(mutation: Callable[[World, Transaction, Ask[Any]], object], status: int) -> Answering:
    """Return the handler of a call that creates or changes something; with a key, the mutation runs once.

    An error that the mutation raises rolls everything back and is not stored. An error that it returns is stored like
    any other answer.
    """

    async def answer(server: Doors, request: Ask[Any]) -> object:
        key = key_of(request.sent)
        if key is None:
            result = await server.write(lambda world, transaction: mutation(world, transaction, request))
            return spelled(result, status)
        digest = hashlib.sha256(request.sent.body).hexdigest()
        route = f"{request.sent.method} {request.sent.path}"
        stored_status, body = await server.write(
            lambda world, transaction: idempotency.once(
                world,
                transaction,
                request.caller,
                route,
                key,
                digest,
                lambda: settle(mutation(world, transaction, request), status),
            )
        )
        return Answer(stored_status, body, JSON if stored_status < HTTPStatus.BAD_REQUEST else CONTENT_TYPE)

    return answer


def settle(result: object, status: int) -> tuple[int, bytes]:
    """Encode an answer as it is stored: its status and body."""
    if isinstance(result, GreenroomError):
        problem = problem_of(result)
        return problem.status, msgspec.json.encode(problem)
    return status, msgspec.json.encode(result)


def key_of(raw_request: Sent) -> str | None:
    """Return the request's key, or None. Raises Unusable for a malformed key."""
    key = raw_request.header(HEADER)
    if key is not None and not KEY.fullmatch(key):
        raise Unusable(
            "This Idempotency-Key is malformed.",
            "Send 1 to 255 visible ASCII characters, a new key for each new request.",
        )
    return key
