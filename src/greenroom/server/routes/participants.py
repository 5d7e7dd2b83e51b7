"""Calls by which agents join a role, stay present and leave."""

from litestar import HttpMethod

from greenroom.server import joining
from greenroom.server.ask import Ask
from greenroom.server.doors import Doors
from greenroom.server.operations import API, Operations
from greenroom.service import presence
from greenroom.service.world import World
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import HeartbeatReply, JoinReply, LeaveReply
from greenroom.wire.requests import Heartbeat, Join, Leave

calls = Operations()

PARTICIPANT = f"{API}/rooms/{{room}}/participants/{{role}}"


@calls.call(HttpMethod.POST, f"{PARTICIPANT}/join", Join, JoinReply)
async def join(server: Doors, request: Ask[Join]) -> object:
    """Join a role, or rejoin it after an absence; joining again with the same `connection_id` changes nothing."""
    return await joining.join(server, request)


@calls.call(HttpMethod.POST, f"{PARTICIPANT}/heartbeat", Heartbeat, HeartbeatReply)
async def heartbeat(server: Doors, request: Ask[Heartbeat]) -> object:
    """Renew a participant's lease; the answer is a verdict."""
    reply = presence.beat(server.world, request.caller, request.room, request.role, request.body)
    server.tally.agent_beats[reply.status] += 1
    return reply


@calls.write(HttpMethod.POST, f"{PARTICIPANT}/leave", Leave, LeaveReply)
def leave(world: World, transaction: Transaction, request: Ask[Leave]) -> object:
    """Leave a role for good; a task that the participant holds is released at once."""
    return presence.leave(world, transaction, request.caller, request.room, request.role, request.body)
