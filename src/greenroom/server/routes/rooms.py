"""Calls about rooms, their roles and their messages."""

from http import HTTPMethod, HTTPStatus

from greenroom.domain.message import Message
from greenroom.domain.room import Room
from greenroom.server.endpoints import API_PREFIX, EndpointTable
from greenroom.server.request import ListQuery, Request
from greenroom.service import messages, roles, rooms
from greenroom.service.context import ServiceContext
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import MessageReply, RoleView, RoomView, TokenReply
from greenroom.wire.requests import ChangeRoom, CreateRoom, GiveReason, SendMessage, SetAgentSpec

calls = EndpointTable()

ROOMS = f"{API_PREFIX}/rooms"
ROOM = f"{ROOMS}/{{room}}"
ROLE = f"{ROOM}/roles/{{role}}"


@calls.idempotent_post(HTTPMethod.POST, ROOMS, CreateRoom, RoomView, HTTPStatus.CREATED)
def create_room(context: ServiceContext, transaction: Transaction, request: Request[CreateRoom]) -> object:
    """Create a room with its roles in order."""
    return rooms.create(context, transaction, request.principal, request.body)


@calls.query(ROOMS, list[Room], ListQuery)
def list_rooms(context: ServiceContext, reader: Reader, request: Request[None]) -> object:
    """List the rooms."""
    return rooms.list_all(context, reader, request.principal, request.query.after, request.page_size(context.limits))


@calls.query(ROOM, RoomView)
def show_room(context: ServiceContext, reader: Reader, request: Request[None]) -> object:
    """Show a snapshot of a room: roles, participants, open tasks, and the cursor where its event stream goes on."""
    return rooms.get_room_view(context, reader, request.principal, request.room)


@calls.mutation(HTTPMethod.PATCH, ROOM, ChangeRoom, RoomView)
def change_room(context: ServiceContext, transaction: Transaction, request: Request[ChangeRoom]) -> object:
    """Change a room's name, roles, entry role or number of concurrent requests; fields that are left out stay."""
    return rooms.change_room(context, transaction, request.principal, request.room, request.body)


@calls.mutation(HTTPMethod.DELETE, ROOM, None, None)
def delete_room(context: ServiceContext, transaction: Transaction, request: Request[None]) -> object:
    """Delete a closed room with its messages, tasks and events."""
    rooms.delete(context, transaction, request.principal, request.room)
    return None


@calls.idempotent_post(HTTPMethod.POST, f"{ROOM}/close", GiveReason, RoomView)
def close_room(context: ServiceContext, transaction: Transaction, request: Request[GiveReason]) -> object:
    """Close a room: it accepts no joins and no new work any more."""
    return rooms.close(context, transaction, request.principal, request.room, request.body)


@calls.idempotent_post(HTTPMethod.POST, f"{ROOM}/messages", SendMessage, MessageReply, HTTPStatus.CREATED)
def send_message(context: ServiceContext, transaction: Transaction, request: Request[SendMessage]) -> object:
    """Send a message in a room; a message from a user opens a task."""
    return messages.send(context, transaction, request.principal, request.room, request.body)


@calls.query(f"{ROOM}/messages", list[Message], ListQuery)
def list_messages(context: ServiceContext, reader: Reader, request: Request[None]) -> object:
    """List the messages of a room, oldest first."""
    limit = request.page_size(context.limits)
    return messages.list_all(context, reader, request.principal, request.room, request.query.after, limit)


@calls.mutation(HTTPMethod.PUT, f"{ROLE}/agent", SetAgentSpec, RoleView)
def set_agent(context: ServiceContext, transaction: Transaction, request: Request[SetAgentSpec]) -> object:
    """Set the agent spec of a role: which agent runs in it, and whether it should run."""
    return roles.set_agent_spec(context, transaction, request.principal, request.room, request.role, request.body)


@calls.idempotent_post(HTTPMethod.POST, f"{ROLE}/agent/restart", GiveReason, RoleView)
def restart_agent(context: ServiceContext, transaction: Transaction, request: Request[GiveReason]) -> object:
    """Restart a role's agent, as a new generation of its agent spec."""
    return roles.restart(context, transaction, request.principal, request.room, request.role, request.body)


@calls.query_post(f"{ROLE}/token", TokenReply)
def make_agent_token(context: ServiceContext, reader: Reader, request: Request[None]) -> object:
    """Make the token of a role's agent; for an operator, or for the machine that the role is assigned to."""
    return rooms.make_token(context, reader, request.principal, request.room, request.role)
