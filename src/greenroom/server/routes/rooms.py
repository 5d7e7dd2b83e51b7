"""Calls about rooms, their roles and what is said in them."""

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
    """Show a room at one moment: roles, participants, open tasks, and the cursor from which its stream carries on."""
    return rooms.snapshot(world, reader, ask.caller, ask.room)


@calls.write(HttpMethod.PATCH, ROOM, ChangeRoom, RoomView)
def change_room(world: World, transaction: Transaction, ask: Ask[ChangeRoom]) -> object:
    """Change a room's name, roles, entry role or how many requests it works on; what is left out stays."""
    return reshaping.change(world, transaction, ask.caller, ask.room, ask.body)


@calls.write(HttpMethod.DELETE, ROOM, None, None)
def delete_room(world: World, transaction: Transaction, ask: Ask[None]) -> object:
    """Delete a closed room, with all that was said and done in it."""
    rooms.delete(world, transaction, ask.caller, ask.room)
    return None


@calls.move(HttpMethod.POST, f"{ROOM}/close", Explain, RoomView)
def close_room(world: World, transaction: Transaction, ask: Ask[Explain]) -> object:
    """Close a room: nobody joins it and nothing new is asked in it any more."""
    return rooms.close(world, transaction, ask.caller, ask.room, ask.body)


@calls.move(HttpMethod.POST, f"{ROOM}/messages", SendMessage, MessageReply, HTTPStatus.CREATED)
def send_message(world: World, transaction: Transaction, ask: Ask[SendMessage]) -> object:
    """Say something in a room; what a user says opens a task."""
    return messages.send(world, transaction, ask.caller, ask.room, ask.body)


@calls.read(f"{ROOM}/messages", list[Message], ListQuery)
def list_messages(world: World, reader: Reader, ask: Ask[None]) -> object:
    """List what was said in a room, oldest first."""
    return messages.list_all(world, reader, ask.caller, ask.room, ask.query.after, ask.limit(world.limits))


@calls.write(HttpMethod.PUT, f"{ROLE}/agent", SetAgent, RoleView)
def set_agent(world: World, transaction: Transaction, ask: Ask[SetAgent]) -> object:
    """Wish who is to sit in a role, and whether it is to run."""
    return roles.wish(world, transaction, ask.caller, ask.room, ask.role, ask.body)


@calls.move(HttpMethod.POST, f"{ROLE}/agent/restart", Explain, RoleView)
def restart_agent(world: World, transaction: Transaction, ask: Ask[Explain]) -> object:
    """Wish that a role's agent begins anew."""
    return roles.restart(world, transaction, ask.caller, ask.room, ask.role, ask.body)


@calls.mint(f"{ROLE}/token", TokenReply)
def make_agent_token(world: World, reader: Reader, ask: Ask[None]) -> object:
    """Make the token of a role's agent, for an operator or for the machine onto which it is wished."""
    return rooms.token(world, reader, ask.caller, ask.room, ask.role)
