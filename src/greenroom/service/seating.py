"""Participant transitions: begin, return, expire and end, shared by joins, heartbeats, reports and the sweep.

Each transition writes its state and event in the caller's transaction, and updates the lease table after the commit.
"""

from functools import partial

import msgspec

from greenroom.domain import sweep, takeover
from greenroom.domain.event import room_stream
from greenroom.domain.role import Role
from greenroom.domain.sitting import ABSENT, BEAT, CLOSED, PRESENT, SUPERSEDED, Sitting
from greenroom.domain.task import Task
from greenroom.service import attention, guarding, notes, resting, wishing, working
from greenroom.service.leases import seat_key
from greenroom.service.signals import claim_key
from greenroom.service.world import World
from greenroom.store import machines, rooms, sittings
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import TaskRef


def sit_new(world: World, tx: Transaction, role: Role, connection_id: str, machine: str | None, cause: str) -> Sitting:
    """Create a participant with the role's next epoch, and close the one before it for good."""
    older = sittings.newest(tx, role.room, role.name)
    if older is not None and older.status != CLOSED:
        end(world, tx, older, SUPERSEDED, f"{connection_id} joined", release_as=SUPERSEDED)
    participant = Sitting(
        room=role.room,
        role=role.name,
        connection_id=connection_id,
        epoch=role.epoch + 1,
        status=PRESENT,
        machine=lasting(tx, machine),
        joined_at=tx.now.instant,
    )
    unheld = resting.seated(role, by_daemon=machine is not None)
    current = msgspec.structs.replace(unheld, epoch=participant.epoch, last_seen_at=tx.now.instant)
    rooms.save_role(tx, role, current)
    sittings.add(tx, participant)
    record(tx, "participant.joined", cause, participant)
    if role.awaits_person:
        tell_of_rest(tx, current, f"{connection_id} joined")
    after_seated(world, tx, participant)
    return participant


def sit_again(world: World, tx: Transaction, absent: Sitting, machine: str | None, cause: str) -> Sitting:
    """Make an absent participant present again. If it no longer holds its task, its lease expects heartbeats again."""
    kind = absent.lease if working.held_by(tx, absent) else BEAT
    returned = msgspec.structs.replace(absent, status=PRESENT, lease=kind, ended_at=None, end_cause=None)
    present = msgspec.structs.replace(returned, machine=lasting(tx, machine))
    sittings.save(tx, absent, present)
    record(tx, "participant.rejoined", cause, present)
    role = rooms.role(tx, absent.room, absent.role)
    if role is not None and role.awaits_person:
        tell_of_rest(tx, role, cause)
    after_seated(world, tx, present)
    return present


def attach(world: World, tx: Transaction, present: Sitting, machine: str) -> Sitting:
    """Tie a present participant to the lease of a connected machine."""
    if present.machine == machine:
        return present
    attached = msgspec.structs.replace(present, machine=machine)
    sittings.save(tx, present, attached)
    after_seated(world, tx, attached)
    return attached


def lasting(tx: Transaction, machine: str | None) -> str | None:
    """The machine, if it is connected: then its daemon's heartbeats renew the participant, and its silence ends it.

    None otherwise: the participant has a lease of its own until a heartbeat of its machine names it.
    """
    stored_machine = machines.get(tx, machine) if machine is not None else None
    return stored_machine.id if stored_machine is not None and stored_machine.daemon_connected else None


def lapse(world: World, tx: Transaction, present: Sitting, cause: str, seen_at: str) -> None:
    """Expire a participant that was last seen at `seen_at`. Its role, history and task stay, and it may rejoin."""
    sittings.save(
        tx, present, msgspec.structs.replace(present, status=ABSENT, ended_at=tx.now.instant, end_cause="expired")
    )
    record(tx, "participant.expired", cause, present)
    seen(tx, present, seen_at)
    for task in working.held_by(tx, present):
        tx.after_commit(partial(start_timer, world, task.id))
    after_vacated(world, tx, present)


def end(
    world: World,
    tx: Transaction,
    open_sitting: Sitting,
    end_cause: str,
    cause: str,
    release_as: str,
    on_trial: bool = False,
) -> list[Task]:
    """Close a participant for good, on a leave, an exit or a newer participant. Its task is released at once.

    When a newer participant takes a task over from a present one, a hold keeps the task from being claimed until the
    older one is known to have stopped.
    """
    closed = msgspec.structs.replace(open_sitting, status=CLOSED, ended_at=tx.now.instant, end_cause=end_cause)
    sittings.save(tx, open_sitting, closed)
    released = [
        working.release(world, tx, task, release_as, cause, on_trial=on_trial)
        for task in working.held_by(tx, open_sitting)
    ]
    working.close_way_back(tx, open_sitting, release_as)
    if end_cause == SUPERSEDED and takeover.is_needed(open_sitting):
        for task in released:
            guarding.hold_back(world, tx, task, open_sitting)
        if released:
            call_up_daemon(world, tx, open_sitting)  # So that it learns of the takeover before the hold ends.
    record(tx, "participant.superseded" if end_cause == SUPERSEDED else "participant.left", cause, open_sitting)
    seen(tx, open_sitting, tx.now.instant)
    key = seat_key(open_sitting.room, open_sitting.role)
    tx.after_commit(partial(world.leases.close, key, open_sitting.connection_id))
    tx.after_commit(partial(attention.is_back, world, key))
    after_vacated(world, tx, open_sitting)
    return released


def call_up(world: World, tx: Transaction, held: Task) -> None:
    """Make the daemon of a task's holder send a heartbeat at once: the answer has news for it."""
    holder = sittings.get(tx, held.room, held.target_role, held.claimed_by) if held.claimed_by is not None else None
    if holder is not None and holder.status == PRESENT:
        call_up_daemon(world, tx, holder)


def call_up_daemon(world: World, tx: Transaction, sitting: Sitting) -> None:
    """Make the daemon of a participant send a heartbeat at once.

    A daemon long-polls its assignments, and sends a heartbeat when they change. An agent that beats for itself does so
    often while it works.
    """
    if sitting.machine is not None:
        wishing.touch(world, tx, sitting.machine)


def rest_lease(world: World, tx: Transaction, room: str, role: str, connection_id: str, kind: str) -> None:
    """Change the kind of a participant's lease (HANDED, WORK or BEAT), and restart it.

    A lease that is of this kind already is not restarted: an operator's change to a task is no sign of life of its
    holder.
    """
    participant = sittings.get(tx, room, role, connection_id)
    if participant is None or participant.status == CLOSED or participant.lease == kind:
        return
    changed = msgspec.structs.replace(participant, lease=kind)
    sittings.save(tx, participant, changed)
    if participant.status == PRESENT:
        after_seated(world, tx, changed)


def renew(world: World, tx: Transaction, room: str, role: str, connection_id: str) -> None:
    """Renew a lease as a heartbeat would: at once, or a sweep in the same batch could end it, and after the commit."""
    key = seat_key(room, role)
    beat(world, key, connection_id)
    tx.after_commit(partial(beat, world, key, connection_id))


def beat(world: World, key: str, connection_id: str) -> None:
    world.leases.beat(key, connection_id, world.clock.monotonic())


def after_seated(world: World, tx: Transaction, present: Sitting) -> None:
    """After the commit, grant the lease, set the task that it holds, and wake the role's standing claims."""
    key = seat_key(present.room, present.role)
    held = working.held_by(tx, present)
    task = TaskRef(held[0].id, held[0].attempt) if held else None
    note_texts = notes.for_holder(tx, held[0]) if held else ()

    def grant_lease() -> None:
        length_s = world.lease_length_s(present)
        world.leases.grant(key, present.connection_id, length_s, present.machine, world.clock.monotonic())
        world.leases.hold(key, present.connection_id, task, note_texts)
        attention.is_back(world, key)
        if task is not None:
            world.leases.stop_timer(task.id)
        world.signals.wake(claim_key(present.room, present.role))

    tx.after_commit(grant_lease)


def after_vacated(world: World, tx: Transaction, participant: Sitting) -> None:
    """After the commit, remove the lease and wake the role's standing claims, which then end."""

    def remove_lease() -> None:
        world.leases.vacate(seat_key(participant.room, participant.role), participant.connection_id)
        world.signals.wake(claim_key(participant.room, participant.role))

    tx.after_commit(remove_lease)


def start_timer(world: World, task: str) -> None:
    """Start the release timer of a task whose holder has expired."""
    world.leases.timers[task] = sweep.release_at(world.clock.monotonic(), world.limits)


def seen(tx: Transaction, sitting: Sitting, at: str) -> None:
    """Save on the role when its last participant, which is gone now, was seen."""
    role = rooms.role(tx, sitting.room, sitting.role)
    assert role is not None
    rooms.save_role(tx, role, msgspec.structs.replace(role, last_seen_at=at))
    if role.awaits_person:
        tell_of_rest(tx, role, "no agent is present any more")


def tell_of_rest(tx: Transaction, role: Role, cause: str) -> None:
    """Raise or resolve the alert of a role with a restart hold, after a participant joined or left."""
    room = rooms.get(tx, role.room)
    assert room is not None
    resting.tell(tx, room, role, cause)


def record(tx: Transaction, type: str, cause: str, sitting: Sitting) -> None:
    """Record the event of a participant."""
    data = {
        "role": sitting.role,
        "connection_id": sitting.connection_id,
        "epoch": sitting.epoch,
        "machine": sitting.machine,
    }
    tx.record(room_stream(sitting.room), type, cause, data)
