"""Does once what a client may send twice. Knows the header and how an answer is kept; must not know the calls."""

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
    """Make the answer of a call that creates or moves something: under one key it happens once.

    An error that the mutation raises undoes everything and is not kept; one that it returns is kept like any answer.
    """

    async def answer(doors: Doors, ask: Ask[Any]) -> object:
        key = key_of(ask.sent)
        if key is None:
            result = await doors.write(lambda world, transaction: mutation(world, transaction, ask))
            return spelled(result, status)
        digest = hashlib.sha256(ask.sent.body).hexdigest()
        route = f"{ask.sent.method} {ask.sent.path}"
        given, body = await doors.write(
            lambda world, transaction: idempotency.once(
                world,
                transaction,
                ask.caller,
                route,
                key,
                digest,
                lambda: settle(mutation(world, transaction, ask), status),
            )
        )
        return Answer(given, body, JSON if given < HTTPStatus.BAD_REQUEST else CONTENT_TYPE)

    return answer


def settle(result: object, status: int) -> tuple[int, bytes]:
    """Spell what is kept of an answer."""
    if isinstance(result, GreenroomError):
        told = problem_of(result)
        return told.status, msgspec.json.encode(told)
    return status, msgspec.json.encode(result)


def key_of(sent: Sent) -> str | None:
    """The request's key, if it has one."""
    key = sent.header(HEADER)
    if key is not None and not KEY.fullmatch(key):
        raise Unusable(
            "This Idempotency-Key cannot be used.", "Send 1 to 255 visible ASCII characters, new for each new request."
        )
    return key
