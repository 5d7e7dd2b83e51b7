"""Joins a client to a role, unless it has disconnected before the join is carried out."""

from greenroom.domain.errors import Unavailable
from greenroom.server.ask import Ask
from greenroom.server.departure import watched
from greenroom.server.doors import Doors
from greenroom.service import presence
from greenroom.service.world import World
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import JoinReply
from greenroom.wire.requests import Join


async def join(server: Doors, request: Ask[Join]) -> JoinReply:
    """Join the caller to the role of the request.

    Raises Unavailable if the client has disconnected by the time the writer gets to this join: a newer request of the
    same client may be under way.
    """
    with watched(request.sent) as disconnected:

        def join_role(world: World, transaction: Transaction) -> JoinReply:
            if disconnected.is_set():
                raise Unavailable("The client disconnected before it joined.", "Nothing was done: join again.")
            return presence.join(world, transaction, request.caller, request.room, request.role, request.body)

        return await server.write(join_role)
