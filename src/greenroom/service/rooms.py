"""Creates, changes, closes, deletes, lists and shows rooms, and makes the tokens of their roles.

A change covers a room's name, its roles, its entry role and the number of requests that it works on at a time. A
removed role keeps its row in the store. So its epoch and generation continue to rise if it is added again, and late
results of its attempts are still kept.
"""

from functools import partial

import msgspec

from greenroom.domain import principal as callers
from greenroom.domain.errors import Conflict, Unusable
from greenroom.domain.event import SERVER_STREAM, room_stream
from greenroom.domain.principal import Principal
from greenroom.domain.role import Role
from greenroom.domain.room import CLOSED, OPEN, Room, check_roles
from greenroom.service import (
    agent_specs,
    alerts,
    authorization,
    participant_transitions,
    restart_holds,
    revocation,
    task_transitions,
    validation,
)
from greenroom.service.context import ServiceContext
from greenroom.service.room_view import build_room_view
from greenroom.service.state.lease_table import role_key
from greenroom.service.state.notifications import claim_key
from greenroom.store import alerts as stored_alerts
from greenroom.store import participants, retention, rooms, tasks
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import RoomView, TokenReply
from greenroom.wire.requests import ChangeRoom, CreateRoom, GiveReason

CHANGEABLE_FIELDS = ("name", "roles", "entry_role", "max_requests")


def create(context: ServiceContext, tx: Transaction, principal: Principal, request: CreateRoom) -> RoomView:
    """Create a room with its roles. Raises Conflict for a name in use. Operators only."""
    authorization.require_operator(principal)
    validation.require_free_name(tx, request.name)
    entry_role = request.entry_role or request.roles[0]
    check_roles(request.roles, entry_role)
    room = Room(
        id=context.new_id("room"),
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
    tx.record_event(room_stream(room.id), "room.created", principal.subject, data)
    tx.on_commit(partial(context.room_cache.put, room, list(roles)))
    return build_room_view(context, tx, room)


def close(
    context: ServiceContext, tx: Transaction, principal: Principal, room_name: str, request: GiveReason
) -> RoomView:
    """Close a room: it takes no new work, and its agents drain. Closing a closed room changes nothing.

    Raises Conflict while a task in it is not over. Operators only.
    """
    room = authorization.get_room_for_operator(tx, principal, room_name)
    if room.status == OPEN:
        open_tasks = tasks.list_open_in_room(tx, room.id, 1)
        if open_tasks:
            raise Conflict(
                f"Room {room.name} still has work: {open_tasks[0].id} is {open_tasks[0].status}.",
                "Wait for it or cancel it (`greenroom task cancel TASK`), then close the room.",
            )
        closed = msgspec.structs.replace(room, status=CLOSED, closed_at=tx.now.instant)
        rooms.save(tx, room, closed)
        data = {"room": room.id, "name": room.name}
        tx.record_event(room_stream(room.id), "room.closed", request.reason or principal.subject, data)
        roles = rooms.list_roles(tx, room.id)
        for role in roles:
            if role.needs_user:
                restart_holds.update_hold_alert(tx, closed, role, "the room was closed")
        tx.on_commit(partial(context.room_cache.put, closed, roles))
        agent_specs.raise_assignments_versions(context, tx, roles)
        room = closed
    return build_room_view(context, tx, room)


def delete(context: ServiceContext, tx: Transaction, principal: Principal, room_name: str) -> None:
    """Delete a closed room. Its name is free at once; retention deletes its history in batches.

    Raises Conflict for an open room. Operators only.
    """
    room = authorization.get_room_for_operator(tx, principal, room_name)
    if room.status == OPEN:
        raise Conflict(
            f"Room {room.name} is open.",
            f"Close it first (`greenroom room close {room.name}`), which checks that it has no open task.",
        )
    cause = f"room {room.name} was deleted"
    for participant in participants.list_present_in_room(tx, room.id):
        participant_transitions.close_participant(context, tx, participant, "left", cause, release_as="left")
    for alert in stored_alerts.list_in_room(tx, room.id):
        alerts.resolve_alert(tx, alert.key, cause)
    roles = rooms.list_roles(tx, room.id)
    rooms.remove(tx, room.id)
    retention.schedule_deletion(tx, room_stream(room.id))
    tx.record_event(SERVER_STREAM, "room.deleted", principal.subject, {"room": room.id, "name": room.name})
    agent_specs.raise_assignments_versions(context, tx, roles)

    def drop_from_memory() -> None:
        context.room_cache.remove(room.id)
        for role in roles:
            key = role_key(room.id, role.name)
            context.leases.drop_closed(key)
            alerts.clear_silence(context, key)

    tx.on_commit(drop_from_memory)


def list_all(
    context: ServiceContext, reader: Reader, principal: Principal, after: str | None, limit: int
) -> list[Room]:
    """Up to `limit` rooms after the id `after`, in the order of their creation. Operators only."""
    authorization.require_operator(principal)
    return rooms.page(reader, after, limit)


def get_room_view(context: ServiceContext, reader: Reader, principal: Principal, room_name: str) -> RoomView:
    """Show a room at one moment, with the cursor from which its event stream continues."""
    return build_room_view(context, reader, authorization.get_readable_room(reader, principal, room_name))


def make_token(
    context: ServiceContext, reader: Reader, principal: Principal, room_name: str, role_name: str
) -> TokenReply:
    """Make the token of one role's agent, for an operator or for the machine that the role is assigned to."""
    if not principal.is_operator and principal.scope != callers.MACHINE:
        raise authorization.forbidden_error()
    room, role = authorization.get_joinable_role(reader, principal, room_name, role_name)
    return TokenReply(context.tokens.make_agent_token(room.id, role.name))


def change_room(
    context: ServiceContext, tx: Transaction, principal: Principal, room_name: str, request: ChangeRoom
) -> RoomView:
    """Apply the fields that are given and leave the rest. A request that changes nothing records no event.

    Raises Unusable and Conflict for roles that cannot be set or removed, and for a name that is invalid or in use.
    """
    room = authorization.get_room_for_operator(tx, principal, room_name)
    changed = apply_changes(room, request)
    if changed == room:
        return build_room_view(context, tx, room)
    if changed.name != room.name:
        validation.require_free_name(tx, changed.name)
    before = rooms.list_roles(tx, room.id)
    if changed.roles != room.roles:
        set_roles(context, tx, room, changed, before)
    rooms.save(tx, room, changed)
    data = {"room": room.id} | {name: getattr(changed, name) for name in CHANGEABLE_FIELDS}
    tx.record_event(room_stream(room.id), "room.changed", request.reason or principal.subject, data)
    roles = rooms.list_roles(tx, room.id)
    tx.on_commit(partial(context.room_cache.put, changed, roles))
    if (changed.name, changed.roles) != (room.name, room.roles):
        agent_specs.raise_assignments_versions(
            context, tx, before
        )  # An assignment has the room's name and its roles in order.
    if changed.status == OPEN:
        task_transitions.promote(context, tx, changed, "the room takes more requests")
    return build_room_view(context, tx, changed)


def apply_changes(room: Room, request: ChangeRoom) -> Room:
    """The room with the requested changes. Raises Unusable for an empty request and for invalid roles."""
    changes = {name: getattr(request, name) for name in CHANGEABLE_FIELDS if getattr(request, name) is not None}
    if not changes:
        raise Unusable("The request changes nothing.", f"Give one or more of {', '.join(CHANGEABLE_FIELDS)}.")
    if "roles" in changes:
        changes["roles"] = tuple(changes["roles"])
    changed = msgspec.structs.replace(room, **changes)
    check_roles(changed.roles, changed.entry_role)
    return changed


def set_roles(context: ServiceContext, tx: Transaction, room: Room, changed: Room, before: list[Role]) -> None:
    """Remove roles, add roles, and set the order of all."""
    for role in before:
        if role.name not in changed.roles:
            remove_role(context, tx, room, role)
    known = {role.name: role for role in before}
    for position, name in enumerate(changed.roles):
        existing = known.get(name)
        if existing is None:
            add_role(tx, room, name, position)
        elif existing.position != position:
            rooms.save_role(tx, existing, msgspec.structs.replace(existing, position=position))


def remove_role(context: ServiceContext, tx: Transaction, room: Room, role: Role) -> None:
    """Remove a role and its agent spec. Raises Conflict if it has a present participant or a task that is not over."""
    present = participants.get_present(tx, room.id, role.name)
    if present is not None:
        raise Conflict(
            f"{present.connection_id} is present in the role {role.name}.",
            f"Stop that agent (`greenroom agent stop {room.name}/{role.name}`), then remove the role.",
        )
    task = tasks.get_oldest_open_of_role(tx, room.id, role.name)
    if task is not None:
        raise Conflict(
            f"The role {role.name} still has work: {task.id} is {task.status}.",
            f"Wait for it or cancel it (`greenroom task cancel {task.id}`), then remove the role.",
        )
    removed = msgspec.structs.replace(
        role, generation=role.generation + 1, run_generation=role.generation + 1, removed_at=tx.now.instant
    )
    rooms.save_role(tx, role, removed)
    revocation.revoke_tokens(context, tx, Principal(scope=callers.AGENT, room=room.id, role=role.name))
    if role.needs_user:
        restart_holds.update_hold_alert(tx, room, removed, "the role was removed")
    tx.on_commit(partial(alerts.clear_silence, context, role_key(room.id, role.name)))
    tx.on_commit(partial(context.notifications.notify, claim_key(room.id, role.name)))


def add_role(tx: Transaction, room: Room, name: str, position: int) -> None:
    """Add a role. One that was removed before has no agent spec any more, and its numbers continue."""
    added = Role(room=room.id, name=name, position=position)
    former = rooms.get_role_or_removed(tx, room.id, name)
    if former is None:
        rooms.add_role(tx, added)
        return
    generation = former.generation + 1
    numbers = {
        "generation": generation,
        "run_generation": generation,
        "epoch": former.epoch,
        "last_seen_at": former.last_seen_at,
    }
    rooms.save_role(tx, former, msgspec.structs.replace(added, **numbers))
