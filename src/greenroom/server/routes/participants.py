"""Calls by which agents join a role, stay present and leave."""

from http import HTTPMethod

from greenroom.server import joins
from greenroom.server.context import ServerContext
from greenroom.server.endpoints import API_PREFIX, EndpointTable
from greenroom.server.request import Request
from greenroom.service import participants
from greenroom.service.context import ServiceContext
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import HeartbeatReply, JoinReply, LeaveReply
from greenroom.wire.requests import HeartbeatBody, Join, Leave

calls = EndpointTable()

PARTICIPANT = f"{API_PREFIX}/rooms/{{room}}/participants/{{role}}"


@calls.custom(HTTPMethod.POST, f"{PARTICIPANT}/join", Join, JoinReply)
async def join(server: ServerContext, request: Request[Join]) -> object:
    """Join a role, or rejoin it after an absence; joining again with the same `connection_id` changes nothing."""
    return await joins.join(server, request)


@calls.custom(HTTPMethod.POST, f"{PARTICIPANT}/heartbeat", HeartbeatBody, HeartbeatReply)
async def heartbeat(server: ServerContext, request: Request[HeartbeatBody]) -> object:
    """Renew a participant's lease; the answer is a verdict."""
    reply = participants.renew_participant(server.service, request.principal, request.room, request.role, request.body)
    server.counters.agent_beats[reply.status] += 1
    return reply


@calls.mutation(HTTPMethod.POST, f"{PARTICIPANT}/leave", Leave, LeaveReply)
def leave(context: ServiceContext, transaction: Transaction, request: Request[Leave]) -> object:
    """Leave a role for good; a task that the participant holds is released at once."""
    return participants.leave(context, transaction, request.principal, request.room, request.role, request.body)
