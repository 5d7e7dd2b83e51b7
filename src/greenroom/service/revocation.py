"""Revokes the tokens of a machine or a role that is deleted, so that they are not valid for a later one of its name."""

from functools import partial

from greenroom.domain.principal import Principal
from greenroom.service.context import ServiceContext
from greenroom.store import token_serials
from greenroom.store.transaction import Transaction


def revoke_tokens(context: ServiceContext, tx: Transaction, principal: Principal) -> None:
    """Refuse all tokens that were made for this principal so far, from the commit on."""
    serial = token_serials.raise_serial(tx, principal.subject)
    tx.on_commit(partial(context.tokens.set_serial, principal.subject, serial))
