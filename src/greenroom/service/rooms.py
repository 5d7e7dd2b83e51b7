"""Creates, closes, deletes, lists and shows rooms, and makes the tokens of their roles."""

from functools import partial

import msgspec

from greenroom.domain import caller as callers
from greenroom.domain.caller import Caller
from greenroom.domain.errors import Conflict
from greenroom.domain.event import SERVER_STREAM, room_stream
from greenroom.domain.role import Role
from greenroom.domain.room import CLOSED, OPEN, Room, check_roles
from greenroom.service import access, attention, naming, resting, seating, wishing
from greenroom.service.leases import seat_key
from greenroom.service.views import view
from greenroom.service.world import World
from greenroom.store import attentions, retention, rooms, sittings, tasks
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import RoomView, TokenReply
from greenroom.wire.requests import CreateRoom, Explain


def create(world: World, tx: Transaction, caller: Caller, request: CreateRoom) -> RoomView:
    """Create a room with its roles. Raises Conflict for a name in use. Operators only."""
    access.operator_only(caller)
    naming.free_only(tx, request.name)
    entry_role = request.entry_role or request.roles[0]
    check_roles(request.roles, entry_role)
    room = Room(
        id=world.new_id("room"),
        name=request.name,
        status=OPEN,
        entry_role=entry_role,
        max_requests=request.max_requests,
        roles=tuple(request.roles),
        created_at=tx.now.instant,
    )
    roles = tuple(Role(room=room.id, name=name, position=position) for position, name in enumerate(room.roles))
    rooms.add(tx, room, roles)
    data = {"room": room.id, "name": room.name, "roles": room.roles, "entry_role": entry_role}
    tx.record(room_stream(room.id), "room.created", caller.subject, data)
    tx.after_commit(partial(world.directory.put, room, list(roles)))
    return view(world, tx, room)


def close(world: World, tx: Transaction, caller: Caller, room_name: str, request: Explain) -> RoomView:
    """Close a room: it takes no new work, and its agents drain. Closing a closed room changes nothing.

    Raises Conflict while a task in it is not over. Operators only.
    """
    room = access.room_for_operator(tx, caller, room_name)
    if room.status == OPEN:
        open_tasks = tasks.open_in(tx, room.id, 1)
        if open_tasks:
            raise Conflict(
                f"Room {room.name} still has work: {open_tasks[0].id} is {open_tasks[0].status}.",
                "Wait for it or cancel it (`greenroom task cancel TASK`), then close the room.",
            )
        closed = msgspec.structs.replace(room, status=CLOSED, closed_at=tx.now.instant)
        rooms.save(tx, room, closed)
        data = {"room": room.id, "name": room.name}
        tx.record(room_stream(room.id), "room.closed", request.reason or caller.subject, data)
        roles = rooms.roles_of(tx, room.id)
        for role in roles:
            if role.awaits_person:
                resting.tell(tx, closed, role, "the room was closed")
        tx.after_commit(partial(world.directory.put, closed, roles))
        wishing.touch_all(world, tx, roles)
        room = closed
    return view(world, tx, room)


def delete(world: World, tx: Transaction, caller: Caller, room_name: str) -> None:
    """Delete a closed room. Its name is free at once; retention deletes its history in batches.

    Raises Conflict for an open room. Operators only.
    """
    room = access.room_for_operator(tx, caller, room_name)
    if room.status == OPEN:
        raise Conflict(
            f"Room {room.name} is open.",
            f"Close it first (`greenroom room close {room.name}`), which checks that it has no open task.",
        )
    cause = f"room {room.name} was deleted"
    for sitting in sittings.present_in(tx, room.id):
        seating.end(world, tx, sitting, "left", cause, release_as="left")
    for alert in attentions.of_room(tx, room.id):
        attention.resolve(tx, alert.key, cause)
    roles = rooms.roles_of(tx, room.id)
    rooms.remove(tx, room.id)
    retention.add_deletion(tx, room_stream(room.id))
    tx.record(SERVER_STREAM, "room.deleted", caller.subject, {"room": room.id, "name": room.name})
    wishing.touch_all(world, tx, roles)

    def drop_from_memory() -> None:
        world.directory.drop(room.id)
        for role in roles:
            key = seat_key(room.id, role.name)
            world.leases.forget(key)
            attention.is_back(world, key)

    tx.after_commit(drop_from_memory)


def list_all(world: World, reader: Reader, caller: Caller, after: str | None, limit: int) -> list[Room]:
    """Up to `limit` rooms after the id `after`, in the order of their creation. Operators only."""
    access.operator_only(caller)
    return rooms.page(reader, after, limit)


def snapshot(world: World, reader: Reader, caller: Caller, room_name: str) -> RoomView:
    """Show a room at one moment, with the cursor from which its event stream continues."""
    return view(world, reader, access.room_to_read(reader, caller, room_name))


def token(world: World, reader: Reader, caller: Caller, room_name: str, role_name: str) -> TokenReply:
    """Make the token of one role's agent, for an operator or for the machine that the role is assigned to."""
    if not caller.is_operator and caller.scope != callers.MACHINE:
        raise access.refused()
    room, role = access.seat(reader, caller, room_name, role_name)
    return TokenReply(world.keys.agent_token(room.id, role.name))
