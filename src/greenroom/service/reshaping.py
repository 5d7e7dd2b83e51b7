"""Changing a room that is there: its name, its roles and how much it takes on. Must not know HTTP.

A role that is taken out keeps its row in the store, so that epoch and generation rise on if it comes back, and what its
attempts still hand in is kept.
"""

from functools import partial

import msgspec

from greenroom.domain.caller import Caller
from greenroom.domain.errors import Conflict, Unusable
from greenroom.domain.event import room_stream
from greenroom.domain.role import Role
from greenroom.domain.room import OPEN, Room, check_roles
from greenroom.service import access, attention, naming, resting, wishing, working
from greenroom.service.leases import seat_key
from greenroom.service.signals import claim_key
from greenroom.service.views import view
from greenroom.service.world import World
from greenroom.store import rooms, sittings, tasks
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import RoomView
from greenroom.wire.requests import ChangeRoom

CHANGEABLE = ("name", "roles", "entry_role", "max_requests")


def change(world: World, tx: Transaction, caller: Caller, room_name: str, request: ChangeRoom) -> RoomView:
    """Change what is given and leave the rest. What is so already changes nothing."""
    room = access.room_for_operator(tx, caller, room_name)
    changed = reshaped(room, request)
    if changed == room:
        return view(world, tx, room)
    if changed.name != room.name:
        naming.free_only(tx, changed.name)
    before = rooms.roles_of(tx, room.id)
    if changed.roles != room.roles:
        set_roles(world, tx, room, changed, before)
    rooms.save(tx, room, changed)
    data = {"room": room.id} | {name: getattr(changed, name) for name in CHANGEABLE}
    tx.record(room_stream(room.id), "room.changed", request.reason or caller.subject, data)
    roles = rooms.roles_of(tx, room.id)
    tx.after_commit(partial(world.directory.put, changed, roles))
    if (changed.name, changed.roles) != (room.name, room.roles):
        wishing.touch_all(world, tx, before)  # A wish carries the room's name and its roles in order.
    if changed.status == OPEN:
        working.promote(world, tx, changed, "the room takes on more")
    return view(world, tx, changed)


def reshaped(room: Room, request: ChangeRoom) -> Room:
    """The room as it is to be. Raises Unusable for a change of nothing, and for roles that no room can have."""
    given = {name: getattr(request, name) for name in CHANGEABLE if getattr(request, name) is not None}
    if not given:
        raise Unusable("Nothing of the room is to be changed.", f"Give one or more of {', '.join(CHANGEABLE)}.")
    if "roles" in given:
        given["roles"] = tuple(given["roles"])
    changed = msgspec.structs.replace(room, **given)
    check_roles(changed.roles, changed.entry_role)
    return changed


def set_roles(world: World, tx: Transaction, room: Room, changed: Room, before: list[Role]) -> None:
    """Take roles out, put others in, and bring all into their order."""
    for role in before:
        if role.name not in changed.roles:
            take_out(world, tx, room, role)
    known = {role.name: role for role in before}
    for position, name in enumerate(changed.roles):
        there = known.get(name)
        if there is None:
            put_in(tx, room, name, position)
        elif there.position != position:
            rooms.save_role(tx, there, msgspec.structs.replace(there, position=position))


def take_out(world: World, tx: Transaction, room: Room, role: Role) -> None:
    """Take a role out in which nobody sits and for which nothing is left to do. Its wish ends with it."""
    present = sittings.present(tx, room.id, role.name)
    if present is not None:
        raise Conflict(
            f"{present.connection_id} is present in the role {role.name}.",
            "Stop that agent or have it leave (`greenroom agent stop`), then take the role out.",
        )
    task = tasks.open_for(tx, room.id, role.name)
    if task is not None:
        raise Conflict(
            f"The role {role.name} still has work: {task.id} is {task.status}.",
            "Wait for it, cancel it or send it to another role (`greenroom task`), then take the role out.",
        )
    gone = msgspec.structs.replace(role, generation=role.generation + 1, removed_at=tx.now.instant)
    rooms.save_role(tx, role, gone)
    if role.awaits_person:
        resting.tell(tx, room, gone, "the role was taken out")
    tx.after_commit(partial(attention.is_back, world, seat_key(room.id, role.name)))
    tx.after_commit(partial(world.signals.wake, claim_key(room.id, role.name)))


def put_in(tx: Transaction, room: Room, name: str, position: int) -> None:
    """Put a role in: a new one, or one that was there before, whose wish is forgotten and whose numbers go on."""
    fresh = Role(room=room.id, name=name, position=position)
    former = rooms.role_ever(tx, room.id, name)
    if former is None:
        rooms.add_role(tx, fresh)
        return
    numbers = {"generation": former.generation + 1, "epoch": former.epoch, "last_seen_at": former.last_seen_at}
    rooms.save_role(tx, former, msgspec.structs.replace(fresh, **numbers))
