"""Participant transitions: begin, return, expire and end, shared by joins, heartbeats, reports and the sweep.

Each transition writes its state and event in the caller's transaction, and updates the lease table after the commit.
"""

from functools import partial

import msgspec

from greenroom.domain import sweep_policy, takeover
from greenroom.domain.event import room_stream
from greenroom.domain.participant import ABSENT, BEAT, CLOSED, PRESENT, SUPERSEDED, Participant
from greenroom.domain.role import Role
from greenroom.domain.task import Task
from greenroom.service import agent_specs, alerts, restart_holds, takeovers, task_notes, task_transitions
from greenroom.service.context import ServiceContext
from greenroom.service.state.lease_table import role_key
from greenroom.service.state.notifications import claim_key
from greenroom.store import machines, participants, rooms
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import TaskRef


def begin_participant(
    context: ServiceContext, tx: Transaction, role: Role, connection_id: str, machine: str | None, cause: str
) -> Participant:
    """Create a participant with the role's next epoch, and close the one before it for good."""
    older = participants.get_newest(tx, role.room, role.name)
    if older is not None and older.status != CLOSED:
        close_participant(context, tx, older, SUPERSEDED, f"{connection_id} joined", release_as=SUPERSEDED)
    participant = Participant(
        room=role.room,
        role=role.name,
        connection_id=connection_id,
        epoch=role.epoch + 1,
        status=PRESENT,
        machine=get_connected_machine(tx, machine),
        joined_at=tx.now.instant,
    )
    unheld = restart_holds.hold_after_join(role, by_daemon=machine is not None)
    current = msgspec.structs.replace(unheld, epoch=participant.epoch, last_seen_at=tx.now.instant)
    rooms.save_role(tx, role, current)
    participants.add(tx, participant)
    record_participant(tx, "participant.joined", cause, participant)
    if role.needs_user:
        update_hold_alert_of(tx, current, f"{connection_id} joined")
    grant_after_commit(context, tx, participant)
    return participant


def return_participant(
    context: ServiceContext, tx: Transaction, absent: Participant, machine: str | None, cause: str
) -> Participant:
    """Make an absent participant present again. If it no longer holds its task, its lease expects heartbeats again."""
    kind = absent.lease if task_transitions.list_held(tx, absent) else BEAT
    returned = msgspec.structs.replace(absent, status=PRESENT, lease=kind, ended_at=None, end_cause=None)
    present = msgspec.structs.replace(returned, machine=get_connected_machine(tx, machine))
    participants.save(tx, absent, present)
    record_participant(tx, "participant.rejoined", cause, present)
    role = rooms.get_role(tx, absent.room, absent.role)
    if role is not None and role.needs_user:
        update_hold_alert_of(tx, role, cause)
    grant_after_commit(context, tx, present)
    return present


def attach_to_machine(context: ServiceContext, tx: Transaction, present: Participant, machine: str) -> Participant:
    """Tie a present participant to the lease of a connected machine."""
    if present.machine == machine:
        return present
    attached = msgspec.structs.replace(present, machine=machine)
    participants.save(tx, present, attached)
    grant_after_commit(context, tx, attached)
    return attached


def get_connected_machine(tx: Transaction, machine: str | None) -> str | None:
    """The machine, if it is connected: then its daemon's heartbeats renew the participant, and its silence ends it.

    None otherwise: the participant has a lease of its own until a heartbeat of its machine names it.
    """
    stored_machine = machines.get(tx, machine) if machine is not None else None
    return stored_machine.id if stored_machine is not None and stored_machine.daemon_connected else None


def expire_participant(
    context: ServiceContext, tx: Transaction, present: Participant, cause: str, seen_at: str
) -> None:
    """Expire a participant that was last seen at `seen_at`. Its role, history and task stay, and it may rejoin."""
    participants.save(
        tx, present, msgspec.structs.replace(present, status=ABSENT, ended_at=tx.now.instant, end_cause="expired")
    )
    record_participant(tx, "participant.expired", cause, present)
    record_last_seen(tx, present, seen_at)
    for task in task_transitions.list_held(tx, present):
        tx.on_commit(partial(start_release_timer, context, task.id))
    revoke_after_commit(context, tx, present)


def close_participant(
    context: ServiceContext,
    tx: Transaction,
    participant: Participant,
    end_cause: str,
    cause: str,
    release_as: str,
    is_probe: bool = False,
) -> list[Task]:
    """Close a participant for good, on a leave, an exit or a newer participant. Its task is released at once.

    When a newer participant takes a task over from a present one, a hold keeps the task from being claimed until the
    older one is known to have stopped.
    """
    closed = msgspec.structs.replace(participant, status=CLOSED, ended_at=tx.now.instant, end_cause=end_cause)
    participants.save(tx, participant, closed)
    released = [
        task_transitions.release(context, tx, task, release_as, cause, is_probe=is_probe)
        for task in task_transitions.list_held(tx, participant)
    ]
    task_transitions.close_lost_attempt(tx, participant, release_as)
    if end_cause == SUPERSEDED and takeover.needs_hold(participant):
        for task in released:
            takeovers.hold_task(context, tx, task, participant)
        if released:
            request_daemon_heartbeat(
                context, tx, participant
            )  # So that it learns of the takeover before the hold ends.
    record_participant(
        tx, "participant.superseded" if end_cause == SUPERSEDED else "participant.left", cause, participant
    )
    record_last_seen(tx, participant, tx.now.instant)
    key = role_key(participant.room, participant.role)
    tx.on_commit(partial(context.leases.record_closed, key, participant.connection_id))
    tx.on_commit(partial(alerts.clear_silence, context, key))
    revoke_after_commit(context, tx, participant)
    return released


def request_heartbeat(context: ServiceContext, tx: Transaction, held: Task) -> None:
    """Make the daemon of a task's holder send a heartbeat at once: the answer has news for it."""
    holder = participants.get(tx, held.room, held.target_role, held.claimed_by) if held.claimed_by is not None else None
    if holder is not None and holder.status == PRESENT:
        request_daemon_heartbeat(context, tx, holder)


def request_daemon_heartbeat(context: ServiceContext, tx: Transaction, participant: Participant) -> None:
    """Make the daemon of a participant send a heartbeat at once.

    A daemon long-polls its assignments, and sends a heartbeat when they change. An agent that beats for itself does so
    often while it works.
    """
    if participant.machine is not None:
        agent_specs.raise_assignments_version(context, tx, participant.machine)


def set_lease_kind(
    context: ServiceContext, tx: Transaction, room: str, role: str, connection_id: str, kind: str
) -> None:
    """Change the kind of a participant's lease (DETACHED, WORK or BEAT), and restart it.

    A lease that is of this kind already is not restarted: an operator's change to a task is no sign of life of its
    holder. One that becomes BEAT had no process that beats, and may end in silence.
    """
    participant = participants.get(tx, room, role, connection_id)
    if participant is None or participant.status == CLOSED or participant.lease == kind:
        return
    changed = msgspec.structs.replace(participant, lease=kind)
    participants.save(tx, participant, changed)
    if participant.status == PRESENT:
        grant_after_commit(context, tx, changed)
        if kind == BEAT:
            tx.on_commit(partial(context.leases.allow_silence, role_key(room, role), connection_id))


def renew_lease(context: ServiceContext, tx: Transaction, room: str, role: str, connection_id: str) -> None:
    """Renew a lease as a heartbeat would: at once, or a sweep in the same batch could end it, and after the commit.

    A call that is rolled back has renewed it all the same: it, too, shows that its sender is alive.
    """
    key = role_key(room, role)
    renew_in_memory(context, key, connection_id)
    tx.on_commit(partial(renew_in_memory, context, key, connection_id))


def renew_in_memory(context: ServiceContext, key: str, connection_id: str) -> None:
    context.leases.renew(key, connection_id, context.clock.monotonic())


def grant_after_commit(context: ServiceContext, tx: Transaction, present: Participant) -> None:
    """After the commit, grant the lease, set the task that it holds, and wake the role's standing claims."""
    key = role_key(present.room, present.role)
    held = task_transitions.list_held(tx, present)
    task = TaskRef(held[0].id, held[0].attempt) if held else None
    note_texts = task_notes.list_for_holder(tx, held[0]) if held else ()

    def grant_lease() -> None:
        length_s = context.get_lease_length_s(present)
        context.leases.grant(key, present.connection_id, length_s, present.machine, context.clock.monotonic())
        context.leases.set_task(key, present.connection_id, task, note_texts)
        alerts.clear_silence(context, key)
        if task is not None:
            context.leases.stop_timer(task.id)
        context.notifications.notify(claim_key(present.room, present.role))

    tx.on_commit(grant_lease)


def revoke_after_commit(context: ServiceContext, tx: Transaction, participant: Participant) -> None:
    """After the commit, remove the lease and wake the role's standing claims, which then end."""

    def remove_lease() -> None:
        context.leases.revoke(role_key(participant.room, participant.role), participant.connection_id)
        context.notifications.notify(claim_key(participant.room, participant.role))

    tx.on_commit(remove_lease)


def start_release_timer(context: ServiceContext, task: str) -> None:
    """Start the release timer of a task whose holder has expired."""
    context.leases.start_timer(task, sweep_policy.task_release_at(context.clock.monotonic(), context.limits))


def record_last_seen(tx: Transaction, participant: Participant, at: str) -> None:
    """Save on the role when its last participant, which is gone now, was seen."""
    role = rooms.get_role(tx, participant.room, participant.role)
    assert role is not None
    rooms.save_role(tx, role, msgspec.structs.replace(role, last_seen_at=at))
    if role.needs_user:
        update_hold_alert_of(tx, role, "no agent is present any more")


def update_hold_alert_of(tx: Transaction, role: Role, cause: str) -> None:
    """Raise or resolve the alert of a role with a restart hold, after a participant joined or left."""
    room = rooms.get(tx, role.room)
    assert room is not None
    restart_holds.update_hold_alert(tx, room, role, cause)


def record_participant(tx: Transaction, type: str, cause: str, participant: Participant) -> None:
    """Record the event of a participant."""
    data = {
        "role": participant.role,
        "connection_id": participant.connection_id,
        "epoch": participant.epoch,
        "machine": participant.machine,
    }
    tx.record_event(room_stream(participant.room), type, cause, data)
