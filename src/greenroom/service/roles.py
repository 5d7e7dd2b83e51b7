"""Agent specs: sets what users want of a role's agent. It starts and stops nothing; daemons reconcile towards the spec.

Every change gives the role a new generation, and both the old and the new machine a new version of their assignments.
A change of how runs are made (harness, model, directory, time limit) counts for the next run, unless the caller wants
it now.
"""

from functools import partial
from typing import Final

import msgspec

from greenroom.domain.errors import Unusable
from greenroom.domain.event import room_stream
from greenroom.domain.principal import Principal
from greenroom.domain.role import CUSTOM, REMOTE, RUNNING, Role
from greenroom.domain.room import Room
from greenroom.service import agent_specs, authorization, restart_holds, room_view
from greenroom.service.context import ServiceContext
from greenroom.service.state.notifications import claim_key
from greenroom.store import machines, participants, tasks
from greenroom.store import rooms as stored
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import RoleView
from greenroom.wire.requests import GiveReason, SetAgentSpec

PLACE_FIELDS: Final = ("kind", "machine", "desired")
"""What says where an agent runs, and whether it does: a change of these stops its run."""
RUN_FIELDS: Final = ("harness", "model", "workdir", "task_timeout_s", "empty")


def set_agent_spec(
    context: ServiceContext,
    tx: Transaction,
    principal: Principal,
    room_name: str,
    role_name: str,
    request: SetAgentSpec,
) -> RoleView:
    """Replace the agent spec of a role. Operators only.

    A spec that equals the present one keeps its generation, if the agent is where it should be. Raises Unusable for a
    spec that is incomplete or contradicts itself.
    """
    authorization.require_operator(principal)
    room, role = authorization.get_joinable_role(tx, principal, room_name, role_name)
    machine = authorization.get_machine(tx, principal, request.machine).id if request.machine is not None else None
    if request.kind == REMOTE and machine is None:
        raise Unusable("A remote agent needs a machine.", "Set `machine` to one of `greenroom machine list`.")
    if request.kind == REMOTE and request.harness is None:
        raise Unusable(
            "A remote agent needs a harness.", "Set `harness` to one that the machine's own configuration defines."
        )
    if request.kind == CUSTOM and (machine or request.harness):
        raise Unusable(
            "A custom agent is run by a user.", "Leave `machine` and `harness` out, or set `kind` to `remote`."
        )
    updated = msgspec.structs.replace(
        role,
        kind=request.kind,
        machine=machine,
        harness=request.harness,
        model=request.model,
        workdir=request.workdir,
        task_timeout_s=request.task_timeout_s,
        empty=request.empty,
        desired=request.desired,
        desired_by=principal.subject,
        desired_reason=request.reason,
    )
    if is_unchanged(tx, role, updated):
        if request.now and role.run_generation < role.generation:
            updated = msgspec.structs.replace(updated, run_generation=role.generation)
            if role.machine is not None:
                agent_specs.raise_assignments_version(context, tx, role.machine)
        return save_annotation(context, tx, principal, room, role, updated)
    keeps_run = not request.now and is_change_of_runs(role, updated)
    return save_new_generation(context, tx, principal, room, role, updated, request.reason, keeps_run)


def restart(
    context: ServiceContext, tx: Transaction, principal: Principal, room_name: str, role_name: str, request: GiveReason
) -> RoleView:
    """Restart a role's agent: a new generation of the same spec, with `desired: running`. Operators only."""
    authorization.require_operator(principal)
    room, role = authorization.get_joinable_role(tx, principal, room_name, role_name)
    updated = msgspec.structs.replace(
        role, desired=RUNNING, desired_by=principal.subject, desired_reason=request.reason
    )
    return save_new_generation(context, tx, principal, room, role, updated, request.reason or "restart")


def is_unchanged(tx: Transaction, role: Role, updated: Role) -> bool:
    """Whether a spec equals the present one and its agent is where it should be.

    A new generation would then stop a working agent only to start it again.
    """
    if role.generation == 0 or differs(role, updated, PLACE_FIELDS) or differs(role, updated, RUN_FIELDS):
        return False
    if role.desired != RUNNING or not role.is_run_by_daemon:
        return True
    present = participants.get_present(tx, role.room, role.name)
    return present is not None and present.machine == role.machine


def is_change_of_runs(role: Role, updated: Role) -> bool:
    """Whether a spec changes only how runs are made: one that is at work may then be finished as it began."""
    return differs(role, updated, RUN_FIELDS) and not differs(role, updated, PLACE_FIELDS)


def differs(role: Role, updated: Role, fields: tuple[str, ...]) -> bool:
    return any(getattr(role, name) != getattr(updated, name) for name in fields)


def save_annotation(
    context: ServiceContext, tx: Transaction, principal: Principal, room: Room, role: Role, updated: Role
) -> RoleView:
    """Save only who set the spec and why, under the same generation."""
    if updated != role:
        stored.save_role(tx, role, updated)
        record_agent_spec(tx, principal, room, updated, updated.desired_reason)
    return get_role_view(context, tx, updated)


def save_new_generation(
    context: ServiceContext,
    tx: Transaction,
    principal: Principal,
    room: Room,
    role: Role,
    updated: Role,
    reason: str | None,
    keeps_run: bool = False,
) -> RoleView:
    """Save a changed spec under a new generation, clear the restart hold, and notify both machines and the claims."""
    updated = msgspec.structs.replace(
        updated,
        generation=role.generation + 1,
        run_generation=role.run_generation if keeps_run else role.generation + 1,
        configured_at=tx.now.instant,
        **restart_holds.NO_HOLD,
    )
    stored.save_role(tx, role, updated)
    if role.needs_user:
        restart_holds.update_hold_alert(tx, room, updated, reason or f"{principal.subject} changed the agent spec")
    for machine in sorted({name for name in (role.machine, updated.machine) if name is not None}):
        agent_specs.raise_assignments_version(context, tx, machine)
    record_agent_spec(tx, principal, room, updated, reason)
    tx.on_commit(partial(context.room_cache.put, room, stored.list_roles(tx, room.id)))
    tx.on_commit(partial(context.notifications.notify, claim_key(room.id, role.name)))
    return get_role_view(context, tx, updated)


def record_agent_spec(tx: Transaction, principal: Principal, room: Room, role: Role, reason: str | None) -> None:
    """Record the event of an agent spec."""
    data = {
        "role": role.name,
        "kind": role.kind,
        "desired": role.desired,
        "machine": role.machine,
        "harness": role.harness,
        "generation": role.generation,
        "by": role.desired_by,
    }
    tx.record_event(room_stream(room.id), "agent.configured", reason or principal.subject, data)


def get_role_view(context: ServiceContext, tx: Transaction, role: Role) -> RoleView:
    """Show the role with its agent spec and status."""
    present = participants.get_present(tx, role.room, role.name)
    target = machines.get(tx, role.machine) if role.machine is not None else None
    is_working = present is not None and tasks.get_held_by(tx, role.room, role.name, present.connection_id) is not None
    status = room_view.build_role_status(context, role, present, target, is_working)
    return room_view.build_role_view(context, role, present, status)
