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
async def join(doors: Doors, ask: Ask[Join]) -> object:
    """Join a role, or rejoin it after an absence; joining again with the same `connection_id` changes nothing."""
    return await joining.join(doors, ask)


@calls.call(HttpMethod.POST, f"{PARTICIPANT}/heartbeat", Heartbeat, HeartbeatReply)
async def heartbeat(doors: Doors, ask: Ask[Heartbeat]) -> object:
    """Renew a participant's lease; the answer is a verdict."""
    reply = presence.beat(doors.world, ask.caller, ask.room, ask.role, ask.body)
    doors.tally.agent_beats[reply.status] += 1
    return reply


@calls.write(HttpMethod.POST, f"{PARTICIPANT}/leave", Leave, LeaveReply)
def leave(world: World, transaction: Transaction, ask: Ask[Leave]) -> object:
    """Leave a role for good; a task that the participant holds is released at once."""
    return presence.leave(world, transaction, ask.caller, ask.room, ask.role, ask.body)
