"""Idempotency keys: a repeated request is answered with the kept answer instead of being executed again."""

from collections.abc import Callable

from greenroom.clock import format_instant, parse_instant
from greenroom.domain.errors import Unusable
from greenroom.domain.principal import Principal
from greenroom.service import authorization
from greenroom.service.context import ServiceContext
from greenroom.store import idempotency_keys
from greenroom.store.transaction import Transaction


def run_once(
    context: ServiceContext,
    tx: Transaction,
    principal: Principal,
    route: str,
    key: str,
    digest: str,
    mutation: Callable[[], tuple[int, bytes]],
) -> tuple[int, bytes]:
    """Run `mutation` and keep its answer in the same transaction, or return the kept answer: (HTTP status, body).

    `digest` is that of the request's body. A mutation that raises is rolled back with nothing kept, so the request may
    be retried under the same key. Raises Unusable (`idempotency_mismatch`) when the key was used for another body, and
    Refused for the token of an attempt that ended too long ago.
    """
    kept = idempotency_keys.get(tx, principal.subject, route, key)
    if kept is not None and kept[3] < format_instant(parse_instant(tx.now.instant) - context.limits.idempotency_kept_s):
        idempotency_keys.remove(
            tx, principal.subject, route, key
        )  # It has expired, and retention has not deleted it yet.
        kept = None
    if kept is None:
        status, body = mutation()
        idempotency_keys.add(tx, principal.subject, route, key, digest, status, body.decode())
        return status, body
    authorization.check_attempt_token_grace(tx, principal, context.limits.attempt_token_grace_s)
    known_digest, status, text, _ = kept
    if known_digest != digest:
        raise Unusable(
            "This Idempotency-Key was used before with another body.",
            "Send a new key with each new request; reuse a key only to repeat the same request.",
            "idempotency_mismatch",
        )
    return status, text.encode()
