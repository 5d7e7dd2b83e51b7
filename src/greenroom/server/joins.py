"""Joins a client to a role, unless it has disconnected before the join is carried out."""

from greenroom.domain.errors import Unavailable
from greenroom.server.context import ServerContext
from greenroom.server.long_poll import watch_disconnect
from greenroom.server.request import Request
from greenroom.service import participants
from greenroom.service.context import ServiceContext
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import JoinReply
from greenroom.wire.requests import Join


async def join(server: ServerContext, request: Request[Join]) -> JoinReply:
    """Join the caller to the role of the request.

    Raises Unavailable if the client has disconnected by the time the writer gets to this join: a newer request of the
    same client may be under way.
    """
    with watch_disconnect(request.raw) as disconnected:

        def join_role(context: ServiceContext, transaction: Transaction) -> JoinReply:
            if disconnected.is_set():
                raise Unavailable("The client disconnected before it joined.", "Nothing was done: join again.")
            return participants.join(context, transaction, request.principal, request.room, request.role, request.body)

        return await server.write(join_role)
