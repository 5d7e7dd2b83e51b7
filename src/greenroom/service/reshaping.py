"""Changes a room: its name, its roles, its entry role and the number of requests that it works on at a time.

A removed role keeps its row in the store. So its epoch and generation continue to rise if it is added again, and late
results of its attempts are still kept.
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
    """Apply the fields that are given and leave the rest. A request that changes nothing records no event.

    Raises Unusable and Conflict for roles that cannot be set or removed, and for a name that is invalid or in use.
    """
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
        wishing.touch_all(world, tx, before)  # An assignment has the room's name and its roles in order.
    if changed.status == OPEN:
        working.promote(world, tx, changed, "the room takes more requests")
    return view(world, tx, changed)


def reshaped(room: Room, request: ChangeRoom) -> Room:
    """The room with the requested changes. Raises Unusable for an empty request and for invalid roles."""
    changes = {name: getattr(request, name) for name in CHANGEABLE if getattr(request, name) is not None}
    if not changes:
        raise Unusable("The request changes nothing.", f"Give one or more of {', '.join(CHANGEABLE)}.")
    if "roles" in changes:
        changes["roles"] = tuple(changes["roles"])
    changed = msgspec.structs.replace(room, **changes)
    check_roles(changed.roles, changed.entry_role)
    return changed


def set_roles(world: World, tx: Transaction, room: Room, changed: Room, before: list[Role]) -> None:
    """Remove roles, add roles, and set the order of all."""
    for role in before:
        if role.name not in changed.roles:
            take_out(world, tx, room, role)
    known = {role.name: role for role in before}
    for position, name in enumerate(changed.roles):
        existing = known.get(name)
        if existing is None:
            put_in(tx, room, name, position)
        elif existing.position != position:
            rooms.save_role(tx, existing, msgspec.structs.replace(existing, position=position))


def take_out(world: World, tx: Transaction, room: Room, role: Role) -> None:
    """Remove a role and its agent spec. Raises Conflict if it has a present participant or a task that is not over."""
    present = sittings.present(tx, room.id, role.name)
    if present is not None:
        raise Conflict(
            f"{present.connection_id} is present in the role {role.name}.",
            f"Stop that agent (`greenroom agent stop {room.name}/{role.name}`), then remove the role.",
        )
    task = tasks.open_for(tx, room.id, role.name)
    if task is not None:
        raise Conflict(
            f"The role {role.name} still has work: {task.id} is {task.status}.",
            f"Wait for it or cancel it (`greenroom task cancel {task.id}`), then remove the role.",
        )
    removed = msgspec.structs.replace(role, generation=role.generation + 1, removed_at=tx.now.instant)
    rooms.save_role(tx, role, removed)
    if role.awaits_person:
        resting.tell(tx, room, removed, "the role was removed")
    tx.after_commit(partial(attention.is_back, world, seat_key(room.id, role.name)))
    tx.after_commit(partial(world.signals.wake, claim_key(room.id, role.name)))


def put_in(tx: Transaction, room: Room, name: str, position: int) -> None:
    """Add a role. One that was removed before has no agent spec any more, and its numbers continue."""
    added = Role(room=room.id, name=name, position=position)
    former = rooms.role_ever(tx, room.id, name)
    if former is None:
        rooms.add_role(tx, added)
        return
    numbers = {"generation": former.generation + 1, "epoch": former.epoch, "last_seen_at": former.last_seen_at}
    rooms.save_role(tx, former, msgspec.structs.replace(added, **numbers))
