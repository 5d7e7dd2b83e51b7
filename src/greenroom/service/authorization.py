"""Authorization: finds the room, role, task or machine that a request names, or refuses the caller.

An operator gets NotFound for an object that does not exist. Every other caller gets the same Refused for "does not
exist" and "not permitted", so that a token of one room cannot be used to probe for others.
"""

from typing import NoReturn

from greenroom.clock import parse_instant
from greenroom.domain import principal as callers
from greenroom.domain.errors import Conflict, NotFound, Refused
from greenroom.domain.machine import Machine
from greenroom.domain.participant import CLOSED as PARTICIPANT_CLOSED
from greenroom.domain.principal import Principal
from greenroom.domain.role import Role
from greenroom.domain.room import CLOSED, Room
from greenroom.domain.task import Task, can_resume, is_held_by
from greenroom.store import machines, participants, rooms, task_attempts, tasks
from greenroom.store.transaction import Reader, Transaction


def forbidden_error() -> Refused:
    """The one error for everything that a caller may not do or know."""
    return Refused(
        "This token does not permit this call.",
        "Use the operator's token, or the token that was made for this machine, role or attempt. "
        "An attempt's token ends with its attempt: stop working on it; only its result can still be handed in.",
    )


def raise_not_found(principal: Principal, kind: str, name: str, list_with: str) -> NoReturn:
    """Raise NotFound with the name for an operator, and the uniform Refused for any other caller."""
    if not principal.is_operator:
        raise forbidden_error()
    raise NotFound(f"There is no {kind} {name[:80]!r}.", f"List the existing ones with {list_with}.")


def raise_room_not_found(principal: Principal, name_or_id: str) -> NoReturn:
    raise_not_found(principal, "room", name_or_id, "`greenroom room list` (GET /api/v1/rooms)")


def require_operator(principal: Principal) -> None:
    """Raise Refused unless the caller is an operator."""
    if not principal.is_operator:
        raise forbidden_error()


def get_room_for_operator(reader: Reader, principal: Principal, name_or_id: str) -> Room:
    """Find a room for a call that only an operator may make."""
    require_operator(principal)
    return find_room(reader, principal, name_or_id)


def find_room(reader: Reader, principal: Principal, name_or_id: str) -> Room:
    """Find a room, whatever the caller may do with it. Raises NotFound."""
    room = rooms.get(reader, name_or_id)
    if room is None:
        raise_room_not_found(principal, name_or_id)
    return room


def get_readable_room(reader: Reader, principal: Principal, name_or_id: str) -> Room:
    """Find a room for a caller that may read it."""
    room = find_room(reader, principal, name_or_id)
    if not principal.is_operator:
        machines_of_room = frozenset(
            role.machine for role in rooms.list_roles(reader, room.id) if role.machine and role.is_run_by_daemon
        )
        if not callers.may_read(principal, room.id, machines_of_room) or not is_attempt_current(reader, principal):
            raise forbidden_error()
    return room


def get_joinable_role(reader: Reader, principal: Principal, room_name: str, role_name: str) -> tuple[Room, Role]:
    """Find the role that the caller wants to join, leave or claim tasks for."""
    room = find_room(reader, principal, room_name)
    role = rooms.get_role(reader, room.id, role_name)
    if role is None:
        raise_not_found(
            principal,
            f"role in room {room.name}",
            role_name,
            f"`greenroom room show {room.name}`: {', '.join(room.roles)}",
        )
    if not callers.may_participate(principal, room.id, role.name, role.machine if role.is_run_by_daemon else None):
        raise forbidden_error()
    return room, role


def get_role_to_leave(
    reader: Reader, principal: Principal, room_name: str, role_name: str, connection_id: str
) -> tuple[Room, Role]:
    """Find the role that the caller wants to leave. A machine may always end a participant of its own.

    This holds also after the role was assigned to another machine: the participant still has to leave.
    """
    room = rooms.get(reader, room_name)
    role = rooms.get_role(reader, room.id, role_name) if room is not None else None
    if room is not None and role is not None and owns_participant(reader, principal, role, connection_id):
        return room, role
    return get_joinable_role(reader, principal, room_name, role_name)


def owns_participant(reader: Reader, principal: Principal, role: Role, connection_id: str) -> bool:
    """Whether the caller is the machine whose daemon beats for that participant, or did until its end."""
    if principal.machine is None:
        return False
    participant = participants.get(reader, role.room, role.name, connection_id)
    return participant is not None and participant.machine == principal.machine


def get_readable_task(reader: Reader, principal: Principal, task_id: str) -> Task:
    """Find a task for a caller that may read its room."""
    task = tasks.get(reader, task_id)
    if task is None or rooms.get(reader, task.room) is None:
        raise_not_found(principal, "task", task_id, "`greenroom task list ROOM` (GET /api/v1/rooms/{room}/tasks)")
    if not principal.is_operator:
        get_readable_room(reader, principal, task.room)
    return task


def get_task_for_operator(reader: Reader, principal: Principal, task_id: str) -> Task:
    """Find a task for a call that only an operator may make."""
    require_operator(principal)
    return get_readable_task(reader, principal, task_id)


def get_workable_task(
    reader: Reader, principal: Principal, task_id: str, connection_id: str, attempt: int
) -> tuple[Task, Role]:
    """Find a task for a call about one attempt at it.

    A machine may report on an attempt that it ran even after the role was assigned elsewhere, so that no result is
    lost.
    """
    task = tasks.get(reader, task_id)
    if task is None:
        raise_not_found(principal, "task", task_id, "`greenroom task list ROOM` (GET /api/v1/rooms/{room}/tasks)")
    # The result of an attempt whose role was removed from the room is kept like any late result.
    role = rooms.get_role_or_removed(reader, task.room, task.target_role)
    if role is None:  # The room was deleted, and retention has not deleted its tasks yet.
        raise_not_found(principal, "task", task_id, "`greenroom task list ROOM` (GET /api/v1/rooms/{room}/tasks)")
    machine = role.machine if role.is_run_by_daemon else None
    is_permitted = callers.may_work_on(principal, task.room, role.name, machine, task.id, attempt)
    if not is_permitted and not owns_participant(reader, principal, role, connection_id):
        raise forbidden_error()
    return task, role


def get_machine(reader: Reader, principal: Principal, machine_id: str) -> Machine:
    """Find a machine by its id; an operator may also use its name, if only one machine has that name.

    Raises Conflict when several machines have the name.
    """
    if not callers.may_act_as_machine(principal, machine_id):
        raise forbidden_error()
    found = machines.get(reader, machine_id)
    if found is not None:
        return found
    same_name = machines.list_by_name(reader, machine_id) if principal.is_operator else []
    if len(same_name) > 1:
        ids = ", ".join(found_by_name.id for found_by_name in same_name)
        raise Conflict(f"{len(same_name)} machines are named {machine_id!r}.", f"Use the id of one of them: {ids}.")
    if not same_name:
        raise_not_found(principal, "machine", machine_id, "`greenroom machine list` (GET /api/v1/machines)")
    return same_name[0]


def require_open_room(room: Room) -> None:
    """Raise Conflict (`room_closed`) if the room is closed: a closed room takes no new work."""
    if room.status == CLOSED:
        raise Conflict(
            f"Room {room.name} is closed.",
            "Use an open room (`greenroom room list`), or create a new one (`greenroom room create`).",
            code="room_closed",
        )


def holds_or_may_resume(reader: Reader, task: Task, role: Role, connection_id: str, attempt: int) -> bool:
    """Whether that attempt holds the task, or may resume it.

    It may resume the task if it lost it by silence alone and no newer participant has joined the role.
    """
    if not is_held_by(task, connection_id, attempt) and not can_resume(task, connection_id, attempt):
        return False
    participant = participants.get(reader, task.room, role.name, connection_id)
    return participant is not None and participant.status != PARTICIPANT_CLOSED and participant.epoch >= role.epoch


def is_attempt_current(reader: Reader, principal: Principal) -> bool:
    """Whether a token of an attempt is still valid: the attempt holds its task, or may resume it.

    True for a token of any other scope.
    """
    if principal.scope != callers.ATTEMPT:
        return True
    task = tasks.get(reader, principal.task or "")
    role = rooms.get_role(reader, task.room, task.target_role) if task is not None else None
    if task is None or role is None or task.last_holder is None:
        return False
    return holds_or_may_resume(reader, task, role, task.last_holder, principal.attempt or 0)


def check_attempt_token_grace(tx: Transaction, principal: Principal, kept_s: float) -> None:
    """Raise Refused for the token of an attempt that ended more than `kept_s` seconds ago.

    Until then the token is good for handing in a result and for repeating an earlier call, and for nothing else.
    """
    if principal.scope != callers.ATTEMPT or is_attempt_current(tx, principal):
        return
    task = tasks.get(tx, principal.task or "")
    exists = task is not None and rooms.get(tx, task.room) is not None
    ended_at = get_attempt_end(tx, task, principal.attempt or 0) if task is not None and exists else None
    if ended_at is None or parse_instant(tx.now.instant) - parse_instant(ended_at) > kept_s:
        raise forbidden_error()


def get_attempt_end(reader: Reader, task: Task, attempt: int) -> str | None:
    """The instant at which an attempt ended; None for an attempt that never existed."""
    if attempt > task.attempt:
        return None
    former = task_attempts.get(reader, task.id, attempt) if attempt < task.attempt else None
    if former is not None:
        return former[1]
    ended_at = (task.released_at or task.completed_at) if attempt == task.attempt else None
    return ended_at or task.acknowledged_at
