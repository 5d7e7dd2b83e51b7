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
def create_room(world: World, transaction: Transaction, ask: Ask[CreateRoom]) -> object:
    """Create a room with its roles in order."""
    return rooms.create(world, transaction, ask.caller, ask.body)


@calls.read(ROOMS, list[Room], ListQuery)
def list_rooms(world: World, reader: Reader, ask: Ask[None]) -> object:
    """List the rooms."""
    return rooms.list_all(world, reader, ask.caller, ask.query.after, ask.limit(world.limits))


@calls.read(ROOM, RoomView)
def show_room(world: World, reader: Reader, ask: Ask[None]) -> object:
    """Show a snapshot of a room: roles, participants, open tasks, and the cursor where its event stream goes on."""
    return rooms.snapshot(world, reader, ask.caller, ask.room)


@calls.write(HttpMethod.PATCH, ROOM, ChangeRoom, RoomView)
def change_room(world: World, transaction: Transaction, ask: Ask[ChangeRoom]) -> object:
    """Change a room's name, roles, entry role or number of concurrent requests; fields that are left out stay."""
    return reshaping.change(world, transaction, ask.caller, ask.room, ask.body)


@calls.write(HttpMethod.DELETE, ROOM, None, None)
def delete_room(world: World, transaction: Transaction, ask: Ask[None]) -> object:
    """Delete a closed room with its messages, tasks and events."""
    rooms.delete(world, transaction, ask.caller, ask.room)
    return None


@calls.move(HttpMethod.POST, f"{ROOM}/close", Explain, RoomView)
def close_room(world: World, transaction: Transaction, ask: Ask[Explain]) -> object:
    """Close a room: it accepts no joins and no new work any more."""
    return rooms.close(world, transaction, ask.caller, ask.room, ask.body)


@calls.move(HttpMethod.POST, f"{ROOM}/messages", SendMessage, MessageReply, HTTPStatus.CREATED)
def send_message(world: World, transaction: Transaction, ask: Ask[SendMessage]) -> object:
    """Send a message in a room; a message from a user opens a task."""
    return messages.send(world, transaction, ask.caller, ask.room, ask.body)


@calls.read(f"{ROOM}/messages", list[Message], ListQuery)
def list_messages(world: World, reader: Reader, ask: Ask[None]) -> object:
    """List the messages of a room, oldest first."""
    return messages.list_all(world, reader, ask.caller, ask.room, ask.query.after, ask.limit(world.limits))


@calls.write(HttpMethod.PUT, f"{ROLE}/agent", SetAgent, RoleView)
def set_agent(world: World, transaction: Transaction, ask: Ask[SetAgent]) -> object:
    """Set the agent spec of a role: which agent runs in it, and whether it should run."""
    return roles.wish(world, transaction, ask.caller, ask.room, ask.role, ask.body)


@calls.move(HttpMethod.POST, f"{ROLE}/agent/restart", Explain, RoleView)
def restart_agent(world: World, transaction: Transaction, ask: Ask[Explain]) -> object:
    """Restart a role's agent, as a new generation of its agent spec."""
    return roles.restart(world, transaction, ask.caller, ask.room, ask.role, ask.body)


@calls.mint(f"{ROLE}/token", TokenReply)
def make_agent_token(world: World, reader: Reader, ask: Ask[None]) -> object:
    """Make the token of a role's agent; for an operator, or for the machine that the role is assigned to."""
    return rooms.token(world, reader, ask.caller, ask.room, ask.role)
