"""Doing once what is asked more than once under one key. Must not know what is done or how an answer is spelled."""

from collections.abc import Callable

from greenroom.clock import instant_of, seconds_of
from greenroom.domain.caller import Caller
from greenroom.domain.errors import Unusable
from greenroom.service import access
from greenroom.service.world import World
from greenroom.store import answers
from greenroom.store.transaction import Transaction


def once(
    world: World,
    tx: Transaction,
    caller: Caller,
    route: str,
    key: str,
    digest: str,
    mutation: Callable[[], tuple[int, bytes]],
) -> tuple[int, bytes]:
    """Do it and keep its answer in the same transaction, or give the answer that was kept.

    `digest` is the body's. What raises is undone as a whole and may be asked anew under the same key. Raises Unusable
    when the key was used for another body, and Refused for a token whose time to ask again is over.
    """
    kept = answers.get(tx, caller.subject, route, key)
    if kept is not None and kept[3] < instant_of(seconds_of(tx.now.instant) - world.limits.idempotency_kept_s):
        answers.remove(tx, caller.subject, route, key)  # Its time is over, and nobody has come to forget it yet.
        kept = None
    if kept is None:
        status, body = mutation()
        answers.add(tx, caller.subject, route, key, digest, status, body.decode())
        return status, body
    access.hear_out(tx, caller, world.limits.attempt_token_kept_s)
    known_digest, status, text, _ = kept
    if known_digest != digest:
        raise Unusable(
            "This Idempotency-Key was used before with another body.",
            "Send a new key with each new request, and the same key only when you repeat one.",
            "idempotency_mismatch",
        )
    return status, text.encode()
