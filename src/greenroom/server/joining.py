"""Seating somebody only while they are there to hear of it. Must not know what sitting down means."""

from greenroom.domain.errors import Unavailable
from greenroom.server.ask import Ask
from greenroom.server.departure import watched
from greenroom.server.doors import Doors
from greenroom.service import presence
from greenroom.service.world import World
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import JoinReply
from greenroom.wire.requests import Join


async def join(doors: Doors, ask: Ask[Join]) -> JoinReply:
    """Join, unless the client has left by the time its turn comes: a newer call of its may be under way."""
    with watched(ask.sent) as gone:

        def sit(world: World, transaction: Transaction) -> JoinReply:
            if gone.is_set():
                raise Unavailable("The client left before its turn came.", "Nothing was done: join again.")
            return presence.join(world, transaction, ask.caller, ask.room, ask.role, ask.body)

        return await doors.write(sit)
