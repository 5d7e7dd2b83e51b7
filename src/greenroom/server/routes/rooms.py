"""Calls about rooms, their roles and their messages."""

from http import HTTPStatus

from litestar import HttpMethod

from greenroom.domain.message import Message
from greenroom.domain.room import Room
from greenroom.server.ask import Ask
from greenroom.server.operations import API, Operations
from greenroom.server.queries import ListQuery
from greenroom.service import messages, reshaping, roles, rooms
from greenroom.service.world import World
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import MessageReply, RoleView, RoomView, TokenReply
from greenroom.wire.requests import ChangeRoom, CreateRoom, Explain, SendMessage, SetAgent

calls = Operations()

ROOMS = f"{API}/rooms"
ROOM = f"{ROOMS}/{{room}}"
ROLE = f"{ROOM}/roles/{{role}}"


@calls.move(HttpMethod.POST, ROOMS, CreateRoom, RoomView, HTTPStatus.CREATED)
def create_room(world: World, transaction: Transaction, request: Ask[CreateRoom]) -> object:
    """Create a room with its roles in order."""
    return rooms.create(world, transaction, request.caller, request.body)


@calls.read(ROOMS, list[Room], ListQuery)
def list_rooms(world: World, reader: Reader, request: Ask[None]) -> object:
    """List the rooms."""
    return rooms.list_all(world, reader, request.caller, request.query.after, request.limit(world.limits))


@calls.read(ROOM, RoomView)
def show_room(world: World, reader: Reader, request: Ask[None]) -> object:
    """Show a snapshot of a room: roles, participants, open tasks, and the cursor where its event stream goes on."""
    return rooms.snapshot(world, reader, request.caller, request.room)


@calls.write(HttpMethod.PATCH, ROOM, ChangeRoom, RoomView)
def change_room(world: World, transaction: Transaction, request: Ask[ChangeRoom]) -> object:
    """Change a room's name, roles, entry role or number of concurrent requests; fields that are left out stay."""
    return reshaping.change(world, transaction, request.caller, request.room, request.body)


@calls.write(HttpMethod.DELETE, ROOM, None, None)
def delete_room(world: World, transaction: Transaction, request: Ask[None]) -> object:
    """Delete a closed room with its messages, tasks and events."""
    rooms.delete(world, transaction, request.caller, request.room)
    return None


@calls.move(HttpMethod.POST, f"{ROOM}/close", Explain, RoomView)
def close_room(world: World, transaction: Transaction, request: Ask[Explain]) -> object:
    """Close a room: it accepts no joins and no new work any more."""
    return rooms.close(world, transaction, request.caller, request.room, request.body)


@calls.move(HttpMethod.POST, f"{ROOM}/messages", SendMessage, MessageReply, HTTPStatus.CREATED)
def send_message(world: World, transaction: Transaction, request: Ask[SendMessage]) -> object:
    """Send a message in a room; a message from a user opens a task."""
    return messages.send(world, transaction, request.caller, request.room, request.body)


@calls.read(f"{ROOM}/messages", list[Message], ListQuery)
def list_messages(world: World, reader: Reader, request: Ask[None]) -> object:
    """List the messages of a room, oldest first."""
    limit = request.limit(world.limits)
    return messages.list_all(world, reader, request.caller, request.room, request.query.after, limit)


@calls.write(HttpMethod.PUT, f"{ROLE}/agent", SetAgent, RoleView)
def set_agent(world: World, transaction: Transaction, request: Ask[SetAgent]) -> object:
    """Set the agent spec of a role: which agent runs in it, and whether it should run."""
    return roles.wish(world, transaction, request.caller, request.room, request.role, request.body)


@calls.move(HttpMethod.POST, f"{ROLE}/agent/restart", Explain, RoleView)
def restart_agent(world: World, transaction: Transaction, request: Ask[Explain]) -> object:
    """Restart a role's agent, as a new generation of its agent spec."""
    return roles.restart(world, transaction, request.caller, request.room, request.role, request.body)


@calls.mint(f"{ROLE}/token", TokenReply)
def make_agent_token(world: World, reader: Reader, request: Ask[None]) -> object:
    """Make the token of a role's agent; for an operator, or for the machine that the role is assigned to."""
    return rooms.token(world, reader, request.caller, request.room, request.role)
